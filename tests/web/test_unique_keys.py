"""Jobs with a unique key over HTTP: the first one is the answer for as long as it exists."""

import asyncio
from datetime import timedelta
from typing import Any

from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.services.jobs.lookup import find_job
from tests.builders_serve import quoted
from tests.web.rig import URL, Rig, pointers

KEYED: dict[str, Any] = {"urls": [URL], "unique_key": "report 2026-12"}


async def ended(rig: Rig, job_id: str) -> None:
    job = (await find_job(rig.yard.store, LOCAL, job_id)).job
    for move in (Move.CLAIM, Move.COMPLETE):
        job, event = job.apply_move(move, rig.clock.now(), actor="worker:w")
        await rig.yard.store.jobs.save(job, event)


async def test_a_second_submit_answers_with_the_first_job_until_it_is_deleted(rig: Rig) -> None:
    await rig.user("ada")
    first = await rig.post("jobs", KEYED)
    job_id = first.json()["id"]
    await ended(rig, job_id)
    await rig.clock.advance(timedelta(days=7))

    other = {"urls": ["https://other.example/"], "unique_key": "report 2026-12"}
    again = await rig.post("jobs", other)
    hers = await rig.post("jobs", KEYED, by="ada")

    assert (first.status_code, again.status_code, hers.status_code) == (201, 200, 201)
    assert again.json()["spec"]["urls"] == [URL]
    assert again.json() == (await rig.get(f"jobs/{job_id}")).json()
    assert again.headers["location"] == f"/api/v1/jobs/{job_id}"

    await rig.ask("DELETE", f"jobs/{job_id}")
    anew = await rig.post("jobs", KEYED)
    assert (anew.status_code, anew.json()["id"] != job_id) == (201, True)


async def test_of_requests_at_the_same_time_one_makes_the_job(rig: Rig) -> None:
    answers = await asyncio.gather(*(rig.post("jobs", KEYED) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await rig.get("jobs")).json()["items"]) == 1


async def test_a_key_that_cannot_be_compared_is_refused(rig: Rig) -> None:
    for key in ("", "x" * 201, 5, ["a"]):
        for path in ("jobs", "jobs/plan"):
            answer = await rig.post(path, KEYED | {"unique_key": key})
            assert pointers(answer) == ["/unique_key"], key
    for key in ("ä" * 200, "none", "a", "A", "a "):
        codes = [(await rig.post("jobs", KEYED | {"unique_key": key})).status_code for _ in "12"]
        assert codes == [201, 200], key
    job = await rig.job()
    changed = await rig.ask("PATCH", f"jobs/{job['id']}", json={"unique_key": "new"})
    assert pointers(changed) == ["/unique_key"]
    any_version = {"If-Match": "*"}
    default = {"unique_key": "all"}
    refused = await rig.ask("PUT", "settings/defaults", json=default, headers=any_version)
    assert pointers(refused) == ["/unique_key"]


async def test_a_preview_names_the_job_that_would_be_returned(rig: Rig) -> None:
    keyed = KEYED | {"urls": ["http://127.0.0.1:9/"], "allow_addresses": ["127.0.0.1"]}
    keyed["grant"] = True
    before = (await rig.post("jobs/preview", keyed)).json()
    job = (await rig.post("jobs", keyed)).json()
    after = (await rig.post("jobs/preview", keyed)).json()
    assert (before["existing_id"], after["existing_id"]) == (None, job["id"])


async def test_a_plan_names_the_existing_job_even_over_quota(rig: Rig) -> None:
    await quoted(rig.yard.store, pending=1)
    await rig.token("ada")
    before = (await rig.post("jobs/plan", KEYED, by="ada")).json()
    job = await rig.job("ada", **KEYED)

    plan = await rig.post("jobs/plan", KEYED, by="ada")

    assert (before["existing_id"], plan.json()["existing_id"]) == (None, job["id"])
    assert (await rig.post("jobs", KEYED, by="ada")).status_code == 200
    refused = await rig.post("jobs", KEYED | {"unique_key": "other"}, by="ada")
    assert refused.status_code == 429


async def test_a_batch_has_one_job_for_each_key(rig: Rig) -> None:
    first = await rig.job(**KEYED)
    other = KEYED | {"unique_key": "other"}
    batch = (await rig.post("jobs/batch", {"jobs": [other, KEYED, other, {"urls": [URL]}]})).json()
    ids = [result["id"] for result in batch["results"]]
    assert (batch["succeeded"], ids[1], ids[0] == ids[2], len(set(ids))) == (
        4,
        first["id"],
        True,
        3,
    )


async def test_a_retry_makes_a_job_without_the_key(rig: Rig) -> None:
    first = await rig.job(**KEYED)
    await ended(rig, first["id"])

    new = (await rig.post(f"jobs/{first['id']}/retry")).json()

    assert new["id"] != first["id"]
    assert new["spec"]["unique_key"] is None
    assert (await rig.post("jobs", KEYED)).json()["id"] == first["id"]


async def test_a_template_makes_keys_of_its_parameters(rig: Rig) -> None:
    template = {
        "name": "report",
        "spec": {"urls": [URL], "unique_key": "report {{month}}"},
        "parameters": [{"name": "month", "type": "text"}],
    }
    assert (await rig.post("templates", template)).status_code == 201
    months = ("2026-11", "2026-12", "2026-11")

    answers = [
        await rig.post("jobs", {"template": "report", "params": {"month": month}})
        for month in months
    ]

    assert [answer.status_code for answer in answers] == [201, 201, 200]
    assert answers[0].json()["spec"]["unique_key"] == "report 2026-11"
    assert answers[2].json()["id"] == answers[0].json()["id"]
