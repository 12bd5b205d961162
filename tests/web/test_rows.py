"""Jobs in lists and their rows in streams have the same values."""

import json
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.job import Origin, Source
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.ids import new_id
from crawlyard.store.queries import EventQuery
from crawlyard.web.live.sse import EventEncoder
from tests.builders import NOW, a_batch, a_job, a_spec, a_target, done
from tests.builders_serve import quoted
from tests.conformance.steps import added, claimed, recorded
from tests.web.crawled import in_state
from tests.web.rig import Rig
from tests.web.test_job_changes import ACTIONS
from tests.web.test_job_changes import done as asked

SECRET = "https://user:pass@example.com/"


async def rows(rig: Rig, job_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a job as the list has it, and as a stream tells it."""
    every = ",".join(JobOut.__struct_fields__)
    [listed] = (await rig.get(f"jobs?id={job_id}&fields={every}")).json()["items"]
    event = (await rig.yard.store.events.events(EventQuery(subject=job_id)))[-1]
    [frame] = await EventEncoder(rig.yard.store, rig.clock).encode([event])
    message = json.loads(frame.data.decode().partition("data: ")[2])
    return listed, message["job"]


def as_row(job: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return what a list says of a job, called as the row does."""
    progress, eta = job["progress"], job["progress"]["eta"] or {}
    renamed = {
        "v": job["version"],
        "found": progress["discovered"],
        "eta_unknown": progress["eta_unknown"],
        "remark": progress["remark"],
        **{
            f"eta_{name}": eta.get(name)
            for name in ("p10_s", "p50_s", "p90_s", "confidence", "limit")
        },
        **{n: progress[n] for n in ("done", "failed", "pages", "bytes", "elapsed_s", "rate")},
    }
    of_spec = {name: job["spec"][name] for name in ("name", "tags", "priority", "limits")}
    list_row = job | of_spec | renamed
    return {name: list_row[name] for name in row}


@pytest.mark.parametrize("state", State)
async def test_both_say_the_same_in_every_state(rig: Rig, state: State) -> None:
    job_id = await in_state(rig, state, name=f"of {SECRET}", tags=["a"])
    job, row = await rows(rig, job_id)
    assert row == as_row(job, row)
    assert (row["done"], row["failed"], row["found"]) == (3, 2, 4)
    assert "pass" not in json.dumps(row)
    assert row["url"] == job["spec"]["urls"][0]


async def test_both_say_how_long_a_running_job_still_takes(rig: Rig) -> None:
    store = rig.yard.store
    spec = a_spec(limits=Limits(duration_s=3600))
    claim = await claimed(store, await added(store, a_job(spec=spec)))
    waiting = [a_target(str(n)) for n in range(50)]
    pulse = Pulse(rate=2.0, samples=20)
    batch = a_batch(waiting, [done(waiting[0])], pulse=pulse, current_url=waiting[1].url)
    await recorded(store, claim.lease, batch, NOW + timedelta(seconds=3))

    job, row = await rows(rig, claim.job.id)

    assert row == as_row(job, row)
    assert (row["rate"], row["current_url"]) == (2.0, waiting[1].url)
    assert row["eta_p50_s"] > 0
    assert row["eta_confidence"]
    assert row["updated_at"] > row["created_at"]


async def test_both_say_that_a_quota_holds_a_job_back(rig: Rig) -> None:
    store = rig.yard.store
    await quoted(store, "ada", running=1)
    await claimed(store, await added(store, a_job(owner="ada")))
    due = await added(store, a_job(owner="ada"))
    later = await added(store, a_job(owner="ada", due_at=NOW + timedelta(hours=1)))

    for stored_job in (due, later):
        job, row = await rows(rig, stored_job.id)
        assert row == as_row(job, row)

    assert (await rows(rig, due.id))[1]["state_reason"] == "waiting_quota"


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({}, Source.DIRECT),
        ({"origin": Origin(template_id=new_id(), template_version=7)}, Source.TEMPLATE),
        ({"origin": Origin(schedule_id=new_id(), tick_at=NOW)}, Source.SCHEDULE),
        ({"retry_of": new_id(), "origin": Origin(template_id=new_id())}, Source.RETRY),
    ],
)
async def test_both_say_where_a_job_comes_from(
    rig: Rig, fields: dict[str, Any], source: Source
) -> None:
    stored_job = await added(rig.yard.store, a_job(**fields))
    job, row = await rows(rig, stored_job.id)
    assert row == as_row(job, row)
    assert (row["source"], row["retry_of"]) == (source, stored_job.retry_of)
    assert row["origin"]["template_id"] == stored_job.origin.template_id


async def test_a_job_that_begins_with_a_sitemap_alone_has_its_url(rig: Rig) -> None:
    job = await rig.job(urls=[], sitemaps=["https://example.com/sitemap.xml"])
    assert (await rows(rig, job["id"]))[1]["url"] == "https://example.com/sitemap.xml"
    assert job["url"] == "https://example.com/sitemap.xml"


@pytest.mark.parametrize("state", State)
async def test_an_action_is_allowed_where_it_is_done(rig: Rig, state: State) -> None:
    verbs = {"patch": "edit", "retry failed": "retry", "retry now": "retry"}
    job = (await rig.get(f"jobs/{await in_state(rig, state)}")).json()
    moved: set[str] = set()
    for action in ACTIONS:
        answer = await asked(rig, await in_state(rig, state), action)
        # 200 of a move: it was so already
        if answer.status_code in (202, 204) or (action == "patch" and answer.is_success):
            moved.add(verbs.get(action, action))
    if state is State.PENDING:
        moved.add("retry")  # were it not due, it would be

    assert set(job["allowed_actions"]) == moved


async def test_an_ended_job_goes_on_only_while_something_is_left(rig: Rig) -> None:
    job_id = await in_state(rig, State.COMPLETED)
    store = rig.yard.store
    before = (await rig.get(f"jobs/{job_id}")).json()
    await rig.post(f"jobs/{job_id}/resume")
    claim = await claimed(store, (await store.jobs.get(job_id)).job)
    await recorded(store, claim.lease, a_batch([], [done(a_target("next"))], last=True))
    await rig.post(f"jobs/{job_id}/cancel")

    after = (await rig.get(f"jobs/{job_id}")).json()

    assert before["allowed_actions"] == ["resume", "retry", "edit", "delete"]
    assert after["allowed_actions"] == ["retry", "delete"]


async def test_a_job_at_its_limit_does_not_go_on(rig: Rig) -> None:
    job_id = await in_state(rig, State.COMPLETED)
    changed = await rig.ask("PATCH", f"jobs/{job_id}", json={"limits": {"pages": 1}})
    assert "resume" not in changed.json()["allowed_actions"]
    assert (await rig.post(f"jobs/{job_id}/resume")).status_code == 409
