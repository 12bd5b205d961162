"""Schedules whose jobs have a unique key: an instant at which there is such a job is skipped."""

import pytest

from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.schedules.schedule import Misfire, Overlap
from crawlyard.store.store import Store
from tests.jobs import submit_to
from tests.services.schedule_rig import HOUR, MIDNIGHT, ScheduleRig, a_rig

URLS = {"urls": ["https://example.com/"]}


@pytest.fixture
def rig(store: Store) -> ScheduleRig:
    return a_rig(store)


async def test_an_instant_is_skipped_while_there_is_a_job_with_the_key(rig: ScheduleRig) -> None:
    schedule_id = await rig.create(overrides=URLS | {"unique_key": "k"}, pause_after=1)
    await rig.after(HOUR)
    [job] = await rig.submitted(schedule_id)
    await rig.ends(job)
    await rig.after(HOUR)

    assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 skipped exists"]
    [tick, _] = (await rig.schedules().runs(schedule_id)).items
    assert tick.detail == f"job {job.id} has its unique key"
    assert (await rig.schedule(schedule_id)).paused_at is None  # it is no failure
    await rig.writer.delete(LOCAL, job.id)
    await rig.after(HOUR)
    assert (await rig.ledger(schedule_id))[-1] == "3 ran on_time"


async def test_a_manual_run_returns_the_existing_job_of_its_unique_key(rig: ScheduleRig) -> None:
    schedule_id = await rig.create(overrides=URLS | {"unique_key": "k"}, overlap=Overlap.ALLOW)
    spec = JobSpec(urls=("https://x.example/",), unique_key="k")
    submitted = await submit_to(rig.submitter, LOCAL, spec)
    assert await rig.run(schedule_id) == submitted
    assert await rig.ledger(schedule_id) == []


async def test_instants_that_are_made_up_for_share_a_key(rig: ScheduleRig) -> None:
    schedule_id = await rig.create(
        overrides=URLS | {"unique_key": "k"},
        misfire=Misfire.RUN_ALL,
        catch_up=5,
        overlap=Overlap.ALLOW,
    )
    await rig.after(3 * HOUR)
    ran = ["1 caught_up late", "2 skipped exists", "3 skipped exists"]
    assert sorted(await rig.ledger(schedule_id)) == ran

    done = await rig.schedules().backfill(schedule_id, MIDNIGHT, dry_run=False)
    assert len(await rig.submitted(schedule_id)) == 1
    assert done.runs == ()


async def test_of_two_schedules_at_one_instant_one_makes_the_job(rig: ScheduleRig) -> None:
    ids = [
        await rig.create(name=name, overrides=URLS | {"unique_key": "k"}) for name in ("one", "two")
    ]
    await rig.after(HOUR)
    await rig.scheduler.round()
    ledgers = sorted([await rig.ledger(schedule_id) for schedule_id in ids])
    assert ledgers == [["1 ran on_time"], ["1 skipped exists"]]
