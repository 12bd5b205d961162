"""Events over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL, Permit
from tests.web.rig import Rig, problem


async def names(rig: Rig, by: str = LOCAL.id, **params: Any) -> list[str]:
    answer = await rig.get("events", by=by, params=params)
    assert answer.status_code == 200, answer.text
    return [event["name"] for event in answer.json()["items"]]


async def test_events_are_listed_newest_first_and_say_where_a_stream_begins(rig: Rig) -> None:
    job = await rig.job()
    await rig.post(f"jobs/{job['id']}/pause")

    answer = await rig.get("events")

    items = answer.json()["items"]
    assert [event["name"] for event in items][:2] == ["job.paused", "job.created"]
    assert (items[0]["job_id"], items[0]["actor"]) == (job["id"], LOCAL.id)
    assert answer.headers["x-event-seq"] == str(items[0]["seq"])


@pytest.mark.parametrize("sort", ["-seq", "seq"])
async def test_they_are_walked_by_cursor_while_more_happen(rig: Rig, sort: str) -> None:
    for _ in range(5):
        await rig.job()
    there = [e["seq"] for e in (await rig.get("events", params={"sort": sort})).json()["items"]]
    walked: list[int] = []
    cursor: str | None = None

    while len(walked) < len(there):
        params = {"sort": sort, "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await rig.get("events", params=params)).json()
        walked += [event["seq"] for event in page["items"]]
        cursor = page["next_cursor"]
        await rig.job()

    assert walked[: len(there)] == there


async def test_they_are_found_by_what_they_say(rig: Rig) -> None:
    await rig.user("ada")
    hers, mine = await rig.job("ada"), await rig.job()
    await rig.clock.advance(timedelta(minutes=1))
    later = rig.clock.now().isoformat()
    await rig.post(f"jobs/{hers['id']}/pause")

    assert await names(rig, type="job.*") == ["job.paused", "job.created", "job.created"]
    assert await names(rig, type="job.paused,user.created") == ["job.paused", "user.created"]
    assert await names(rig, subject=mine["id"]) == ["job.created"]
    assert await names(rig, job=hers["id"]) == ["job.paused", "job.created"]
    assert await names(rig, job=hers["id"], type="job.cr*") == ["job.created"]
    assert await names(rig, since=later) == ["job.paused"]
    assert await names(rig, actor="ada") == ["job.created"]
    assert await names(rig, actor="me", type="job.paused") == ["job.paused"]
    assert await names(rig, owner="ada", type="job.*") == ["job.paused", "job.created"]
    assert await names(rig, owner="me", type="job.*") == ["job.created"]
    assert await names(rig, job=hers["id"], type="token.*") == []


async def test_those_about_what_is_others_are_not_listed(rig: Rig) -> None:
    for name in ("ada", "bob"):
        await rig.user(name)
    his = await rig.job("bob")
    await rig.job("ada")

    events = (await rig.get("events", by="ada")).json()["items"]

    assert {event["owner"] for event in events} == {"ada"}
    assert await names(rig, by="ada", job=his["id"]) == []
    assert await names(rig, by="ada", owner="bob") == []


async def test_a_limited_token_sees_those_of_what_it_may_read(rig: Rig) -> None:
    await rig.job()
    reader = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))
    writer = await rig.token(LOCAL.id, frozenset({Permit.JOBS_WRITE}))

    visible_events = (await rig.get("events", secret=reader)).json()["items"]
    unseen = (await rig.get("events", secret=writer)).json()["items"]

    assert {event["name"] for event in visible_events} == {"job.created"}
    assert unseen == []


async def test_invalid_query_parameters_are_refused(rig: Rig) -> None:
    for query in [
        "type=job.finished",
        "type=,",
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "since=0.5",
        "since=null",
        "sort=name",
        "subject=a&job=b",
        "limit=0",
    ]:
        answer = await rig.get(f"events?{query}")
        assert problem(answer) == (422, "validation_failed"), query


async def test_lists_of_what_streams_tell_of_say_where_one_begins(rig: Rig) -> None:
    await rig.job()
    last = str(await rig.yard.store.events.last())
    for path in ("jobs", "templates", "schedules", "webhooks", "workers", "events"):
        assert (await rig.get(path)).headers["x-event-seq"] == last, path
