"""Control of workers over HTTP."""

from datetime import timedelta

import pytest

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.events.event import Event, EventName, Topic
from crawlyard.core.workers.status import WorkerWish
from crawlyard.store.queries import EventQuery
from tests.builders_serve import a_report
from tests.docs import undocumented
from tests.web.rig import Rig, problem

ID = "host:1:x"


async def save_heartbeat_report(rig: Rig, **fields: object) -> None:
    await rig.yard.store.workers.save_heartbeat(a_report(beat_at=rig.clock.now(), **fields))


async def state(rig: Rig) -> str:
    worker_state: str = (await rig.get(f"workers/{ID}")).json()["state"]
    return worker_state


async def worker_events(rig: Rig) -> list[Event]:
    return await rig.yard.store.events.events(EventQuery(names=Topic.WORKERS.names))


async def names(rig: Rig) -> list[EventName]:
    return [event.name for event in await worker_events(rig)]


async def test_a_worker_is_quiet_and_goes_on_as_is_wanted(rig: Rig) -> None:
    await save_heartbeat_report(rig)

    quiet = await rig.post(f"workers/{ID}/quiet")
    wish = await rig.yard.store.workers.wish(ID)
    resumed = await rig.post(f"workers/{ID}/resume")

    assert (quiet.status_code, quiet.json()["state"], wish) == (202, "quiet", WorkerWish.QUIET)
    assert (resumed.status_code, resumed.json()["state"]) == (202, "idle")
    assert await names(rig) == [EventName.WORKER_QUIETED, EventName.WORKER_RESUMED]


async def test_what_is_wanted_already_is_no_change(rig: Rig) -> None:
    await save_heartbeat_report(rig)
    fresh = await rig.post(f"workers/{ID}/resume")
    for action in ("quiet", "stop"):
        await rig.post(f"workers/{ID}/{action}")
        again = await rig.post(f"workers/{ID}/{action}")
        assert again.status_code == 200

    assert fresh.status_code == 200
    assert await names(rig) == [EventName.WORKER_QUIETED, EventName.WORKER_STOPPING]


async def test_who_stops_does_nothing_else_any_more(rig: Rig) -> None:
    await save_heartbeat_report(rig)
    stopped = await rig.post(f"workers/{ID}/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (202, "stopping")
    for action in ("quiet", "resume"):
        assert problem(await rig.post(f"workers/{ID}/{action}")) == (409, "invalid_transition")
    assert await state(rig) == "stopping"


@pytest.mark.parametrize("action", ["quiet", "resume"])
async def test_a_worker_stopping_by_signal_accepts_no_other_command(rig: Rig, action: str) -> None:
    await save_heartbeat_report(rig, stopping=True)
    assert problem(await rig.post(f"workers/{ID}/{action}")) == (409, "invalid_transition")
    assert (await rig.post(f"workers/{ID}/stop")).status_code == 200
    assert await names(rig) == []


@pytest.mark.parametrize("action", ["quiet", "resume", "stop"])
async def test_nothing_is_wanted_of_one_that_is_gone(rig: Rig, action: str) -> None:
    await save_heartbeat_report(rig)
    await rig.clock.advance(timedelta(minutes=1))
    assert await state(rig) == "gone"
    assert problem(await rig.post(f"workers/{ID}/{action}")) == (409, "invalid_transition")
    assert problem(await rig.post(f"workers/nobody/{action}")) == (404, "not_found")
    assert await names(rig) == []


async def test_a_worker_shows_its_tags_to_everybody(rig: Rig) -> None:
    await rig.user("ada", role=Role.VIEWER)
    await save_heartbeat_report(rig, tags=("browser", "eu"), cpu=0.5, quiet=True)
    mine = (await rig.get(f"workers/{ID}")).json()
    hers = (await rig.get(f"workers/{ID}", by="ada")).json()
    assert (mine["tags"], mine["cpu"], mine["state"]) == (["browser", "eu"], 0.5, "quiet")
    assert (hers["tags"], hers["cpu"], hers["state"]) == (["browser", "eu"], 0, "quiet")


async def test_jobs_wait_for_workers_that_are_quiet(rig: Rig) -> None:
    await save_heartbeat_report(rig)
    job = await rig.job()
    before = (await rig.get("stats")).json()["cards"]["workers"]

    await rig.post(f"workers/{ID}/quiet")

    [wait, *_] = (await rig.get(f"jobs/{job['id']}")).json()["waits_for"]
    [notice] = (await rig.get("attention")).json()["items"]
    assert before == 1
    assert wait["reason"] == "no_worker"
    assert "draining" in wait["detail"]
    assert notice["kind"] == "no_worker"


async def test_an_event_has_its_actor_its_action_and_its_worker(rig: Rig) -> None:
    await save_heartbeat_report(rig)
    await rig.post(f"workers/{ID}/stop")
    [event] = await worker_events(rig)
    assert (event.subject, event.actor) == (ID, LOCAL.id)
    assert event.data == {"host": "host", "pid": 1}
    assert undocumented([event]) == []
