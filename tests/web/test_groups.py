"""Groups over HTTP and in this process: one progress, one wait, one end."""

import asyncio
from datetime import timedelta

from crawlyard.core.access.user import LOCAL
from crawlyard.services.surface import Surface
from tests.web.rig import URL, Rig, problem

GOOD = {"urls": [URL]}


async def group_of(rig: Rig, count: int = 2, **more: object) -> str:
    batch = (await rig.post("jobs/batch", {"jobs": [GOOD] * count}, **more)).json()
    group_id: str = batch["group_id"]
    return group_id


async def test_the_jobs_of_a_batch_are_a_group(rig: Rig) -> None:
    other, group_id = await group_of(rig), await group_of(rig, 3)

    group = (await rig.get(f"groups/{group_id}")).json()

    assert (group["object"], group["jobs"], group["states"]) == ("group", 3, {"pending": 3})
    assert (group["ended"], group["ended_at"], group["left_s"]) == (False, None, None)
    jobs = (await rig.get(group["links"]["jobs"])).json()["items"]
    assert len(jobs) == 3
    job = (await rig.get(f"jobs/{jobs[0]['id']}")).json()
    assert job["origin"]["group_id"] == group_id != other


async def test_a_batch_without_a_new_job_has_no_group(rig: Rig) -> None:
    keyed = GOOD | {"unique_key": "once"}
    first = (await rig.post("jobs/batch", {"jobs": [keyed]})).json()
    refused: dict[str, object] = {"urls": []}
    for jobs in ([keyed], [refused]):
        assert (await rig.post("jobs/batch", {"jobs": jobs})).json()["group_id"] is None
    assert (await rig.get(f"groups/{first['group_id']}")).json()["jobs"] == 1


async def test_a_group_of_another_user_is_not_found(rig: Rig) -> None:
    await rig.user("ada")
    await rig.user("bob")
    group_id = await group_of(rig, by="ada")
    for path in (f"groups/{group_id}", f"groups/{group_id}/wait"):
        assert problem(await rig.get(path, by="bob")) == (404, "not_found")
    assert problem(await rig.post(f"groups/{group_id}/cancel", by="bob")) == (404, "not_found")
    assert (await rig.get(f"groups/{group_id}")).json()["states"] == {"pending": 2}


async def test_a_wait_ends_once_all_jobs_are_cancelled(rig: Rig) -> None:
    group_id = await group_of(rig)
    groups = Surface(rig.yard.services, LOCAL).groups
    assert not (await groups.wait(group_id, timeout_s=0)).ended

    waiting = asyncio.create_task(groups.wait(group_id))
    await asyncio.sleep(0)
    assert not waiting.done()
    cancelled = (await rig.post(f"groups/{group_id}/cancel", {"reason": "moved"})).json()
    assert (cancelled["count"], cancelled["succeeded"]) == (2, 2)
    await rig.clock.advance(timedelta(seconds=1))
    assert waiting.done()
    group = await waiting

    assert (group.ended, group.states) == (True, {"cancelled": 2})
    events = (await rig.get(f"events?subject={group_id}")).json()["items"]
    assert [event["name"] for event in events] == ["group.completed"]
    assert events[0]["data"]["jobs"] == 2
    assert (await rig.post(f"groups/{group_id}/cancel")).json()["count"] == 0


async def test_a_retry_of_a_job_is_in_its_group(rig: Rig) -> None:
    group_id = await group_of(rig, 1)
    await rig.post(f"groups/{group_id}/cancel")
    [job] = (await rig.get(f"jobs?group_id={group_id}")).json()["items"]

    await rig.post(f"jobs/{job['id']}/retry")

    group = (await rig.get(f"groups/{group_id}")).json()
    assert (group["ended"], group["states"]) == (False, {"cancelled": 1, "pending": 1})
