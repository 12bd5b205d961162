"""`Overview`: notices from the store, each shown to the owner alone."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, PERMITS_OF, Actor, Permit
from crawlyard.core.attention.attention import (
    AttentionOut,
    Disk,
    Notice,
    Subject,
)
from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.schedules.schedule import BY_ITSELF
from crawlyard.ids import new_id
from crawlyard.services.attention.overview import MOST, Overview, Snapshot
from crawlyard.services.upkeep import disk
from crawlyard.services.workers.status import Watching
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_spec, a_target, done
from tests.builders_schedules import a_schedule
from tests.builders_schedules import schedule_event as of_schedule
from tests.builders_serve import a_report
from tests.builders_templates import a_template, template_event
from tests.builders_webhooks import stored_webhook
from tests.clock import FakeClock
from tests.conformance.steps import added, claimed, in_state, recorded

HOUR = timedelta(hours=1)
ADA = Actor(id="ada")
ROOM = Disk(folder="/data", free=1, total=100)


async def room() -> Disk | None:
    return ROOM


def an_overview(store: Store, clock: FakeClock, most: int = MOST) -> Overview:
    return Overview(store, clock, Watching(store, clock), room, most)


@pytest.fixture
def overview(store: Store, clock: FakeClock) -> Overview:
    return an_overview(store, clock)


async def attention_for(overview: Overview, actor: Actor) -> AttentionOut:
    return await overview.attention(actor, PERMITS_OF[actor.role])


def notices_of(attention: AttentionOut, kind: Trouble) -> Sequence[Notice]:
    return [notice for notice in attention.items if notice.kind == kind]


def about(notice: Notice) -> Subject:
    assert notice.subject is not None
    return notice.subject


async def ended(store: Store, state: State, minutes: int, **fields: Any) -> str:
    at = NOW + timedelta(minutes=minutes) - HOUR
    return (await added(store, in_state(state, ended_at=at, **fields))).id


async def test_a_user_sees_notices_of_own_jobs_and_an_admin_all(
    store: Store, overview: Overview
) -> None:
    paused = {}
    for owner in ("ada", "bob"):
        job = a_job(state=State.PAUSED, state_reason=StateReason.DISK_FULL, owner=owner)
        paused[owner] = (await added(store, job)).id
        await added(store, a_job(owner=owner))
        await stored_webhook(store, owner=owner, active=False, disabled_reason="410")
        for by, late in ((BY_ITSELF, None), ("", NOW - HOUR)):
            paused_at = None if late else NOW
            schedule = a_schedule(owner=owner, paused_at=paused_at, paused_by=by, fire_at=late)
            await store.schedules.add(schedule, of_schedule(schedule))

    own, every = await attention_for(overview, ADA), await attention_for(overview, LOCAL)

    of_all = (
        Trouble.SCHEDULE_OVERDUE,
        Trouble.SCHEDULE_PAUSED,
        Trouble.JOB_PAUSED,
        Trouble.WEBHOOK_OFF,
    )
    assert own.counts == dict.fromkeys((Trouble.NO_WORKER, *of_all), 1)
    assert every.counts == {Trouble.NO_WORKER: 1, Trouble.DISK_FULL: 1} | dict.fromkeys(of_all, 2)
    assert [about(n).id for n in notices_of(own, Trouble.JOB_PAUSED)] == [paused["ada"]]
    assert notices_of(own, Trouble.NO_WORKER)[0].detail.startswith("1 job waits")
    assert notices_of(every, Trouble.NO_WORKER)[0].detail.startswith("2 jobs wait")


@pytest.mark.parametrize(
    ("fields", "alone"),
    [({}, False), ({"stopping": True}, True), ({"beat_at": NOW - HOUR}, True)],
)
async def test_a_worker_that_is_gone_or_stops_is_none(
    store: Store, overview: Overview, fields: dict[str, Any], *, alone: bool
) -> None:
    await added(store)
    await store.workers.save_heartbeat(a_report(**fields))
    assert bool(notices_of(await attention_for(overview, LOCAL), Trouble.NO_WORKER)) is alone


async def test_failing_series_are_named_by_job_schedule_or_template(
    store: Store, overview: Overview
) -> None:
    template = a_template(name="shop", owner="bob", public=True)
    await store.templates.add(template, template_event(template))
    schedule = a_schedule(name="nightly", owner="ada")
    await store.schedules.add(schedule, of_schedule(schedule))
    origins = {
        "schedule": Origin(schedule_id=schedule.id, template_id=template.id),
        "template": Origin(template_id=template.id),
        "gone": Origin(schedule_id=new_id()),
    }
    for minute in range(3):
        for origin in origins.values():
            await ended(store, State.FAILED, minute, owner="ada", origin=origin)
        await ended(store, State.FAILED, minute, owner="ada", spec=a_spec(name="news"))
        await ended(store, State.FAILED, minute, owner="ada", spec=a_spec(name="mended"))
    await ended(store, State.COMPLETED, 4, owner="ada", spec=a_spec(name="mended"))
    await ended(store, State.CANCELLED, 5, owner="ada", spec=a_spec(name="news"))

    listed = notices_of(await attention_for(overview, ADA), Trouble.RUNS_FAILING)

    assert sorted((about(n).name, about(n).type) for n in listed) == [
        ("news", "job"),
        ("nightly", "schedule"),
        ("shop", "template"),
    ]
    assert {n.since for n in listed} == {NOW - HOUR}


async def test_a_template_that_was_hidden_since_is_not_named(
    store: Store, overview: Overview
) -> None:
    template = a_template(name="shop", owner="bob")
    await store.templates.add(template, template_event(template))
    for minute in range(3):
        origin = Origin(template_id=template.id)
        await ended(store, State.FAILED, minute, owner="ada", origin=origin)

    [notice] = notices_of(await attention_for(overview, ADA), Trouble.RUNS_FAILING)

    assert (about(notice).id, about(notice).name) == (template.id, "")


async def test_host_notices_go_to_owners_of_jobs_on_the_host(
    store: Store, overview: Overview
) -> None:
    claim = await claimed(store, await added(store, a_job(owner="ada")))
    host = HostReport(host="slow.example", refusals=4, jobs=(claim.job.id,))
    await store.workers.save_heartbeat(a_report(running=(claim.job.id,), hosts=(host,)))

    own = notices_of(await attention_for(overview, ADA), Trouble.HOST_REFUSING)
    of_bob = notices_of(await attention_for(overview, Actor(id="bob")), Trouble.HOST_REFUSING)

    assert [(about(n).id, n.job_id) for n in own] == [("slow.example", claim.job.id)]
    assert of_bob == []


async def test_where_not_all_could_be_looked_at_the_count_is_a_least_one(
    store: Store, clock: FakeClock
) -> None:
    for _ in range(3):
        await stored_webhook(store, owner="ada", active=False, disabled_reason="410")
        await added(store, a_job(state=State.PAUSED, since=NOW - 100 * HOUR, owner="ada"))

    hasty, patient = [await attention_for(an_overview(store, clock, most), ADA) for most in (2, 3)]

    troubles = (Trouble.JOB_PAUSED, Trouble.WEBHOOK_OFF)
    assert hasty.counts == dict.fromkeys(troubles, 2)
    assert set(hasty.at_least) == {*troubles, Trouble.LOGGED_OUT, Trouble.WEBHOOK_FAILING}
    assert patient.counts == dict.fromkeys(troubles, 3)
    assert not patient.at_least


class TestMoment:
    async def test_an_admin_sees_figures_of_all_jobs_and_a_user_of_own_jobs(
        self, store: Store, overview: Overview
    ) -> None:
        mine = await claimed(store, await added(store, a_job(owner="ada")))
        await recorded(store, mine.lease, a_batch([a_target()], [done(a_target())]))
        of_bob = await claimed(store, await added(store, a_job(owner="bob")))
        await added(store, a_job(owner="ada", due_at=NOW - HOUR))
        await added(store, a_job(owner="bob", due_at=NOW - 2 * HOUR))
        running = (mine.job.id, of_bob.job.id)
        await store.workers.save_heartbeat(a_report(slots=4, running=running, pages_per_s=7.5))
        await store.workers.save_heartbeat(a_report(id="w2", slots=8, stopping=True, pages_per_s=1))

        every = await overview.moment(LOCAL, frozenset(Permit))
        narrow = await overview.moment(LOCAL, {Permit.JOBS_READ})
        own = await overview.moment(ADA, PERMITS_OF[ADA.role])
        mine_alone = await overview.moment(LOCAL, frozenset(Permit), own=True)

        assert every == Snapshot(
            slots=4, slots_used=2, oldest_wait=2 * HOUR, pages_per_s=7.5, disk=ROOM
        )
        assert narrow.disk is None
        assert own == Snapshot(slots=4, slots_used=1, oldest_wait=HOUR, pages_per_s=0.0)
        assert (mine_alone.slots_used, mine_alone.oldest_wait) == (0, None)

    async def test_the_overview_of_an_empty_store_is_empty(self, overview: Overview) -> None:
        assert await overview.moment(ADA, {Permit.JOBS_READ}) == Snapshot()


class TestDisk:
    async def test_disk_space_is_reported_if_the_data_folder_exists(self, tmp_path: Path) -> None:
        disk_room = await disk.room(Settings(data_dir=tmp_path))
        assert disk_room is not None
        assert disk_room.folder == str(tmp_path)
        assert 0 < disk_room.free <= disk_room.total
        assert await disk.room(Settings(data_dir=tmp_path / "none")) is None
        assert await disk.room(Settings(database_url="memory://")) is None

    def test_it_is_where_the_data_are(self) -> None:
        for url, folder in [
            ("", Path("/data")),
            ("memory://", None),
            ("/there/yard.db", Path("/there")),
            ("sqlite:////there/yard.db", Path("/there")),
            ("postgresql://there/yard", Path("/data")),
        ]:
            settings = Settings(data_dir=Path("/data"), database_url=url)
            assert disk.folder_of(settings) == folder, url
