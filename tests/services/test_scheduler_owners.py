"""No method lets user B see, use, change or delete the schedules of user A."""

from collections.abc import Awaitable, Callable, Mapping

import pytest
from msgspec import UNSET

from crawlyard import JobQuery
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.endpoints.endpoint import methods_of
from crawlyard.errors import Conflict, Forbidden, NotFound
from crawlyard.services.schedules.schedules import Schedules
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.store import Store
from tests.services.schedule_rig import HOUR, MIDNIGHT, ScheduleRig, a_rig

ADA = Actor(id="ada")
BOB = Actor(id="bob")
WATCHING_ADA = Actor(id="ada", role=Role.VIEWER)

Call = Callable[[Schedules, str], Awaitable[object]]

CHANGES: Mapping[str, Call] = {
    "edit": lambda s, i: s.edit(i, when="@daily"),
    "pause": lambda s, i: s.pause(i, "mine"),
    "resume": lambda s, i: s.resume(i),
    "run": lambda s, i: s.run(i),
    "backfill": lambda s, i: s.backfill(i, MIDNIGHT - HOUR, MIDNIGHT + HOUR, dry_run=False),
    "delete": lambda s, i: s.delete(i),
    "deletable": lambda s, i: s.deletable(i),
}
LOOKS = {"get", "next", "runs", "list", "calendar", "hours", "changes", "changes_feed", "export"}
OWN = {"create"}  # about new ones: tested below
NONE = {"preview", "convert"}  # of no schedule


@pytest.fixture
def store() -> Store:
    return open_in_memory()  # rules about owners are none of the store's


@pytest.fixture
async def rig(store: Store) -> ScheduleRig:
    rig = a_rig(store)
    await rig.create(actor=ADA, overrides={"urls": ["https://ada.example/"]})
    await rig.after(2 * HOUR)
    return rig


async def adas(rig: ScheduleRig) -> str:
    [schedule] = (await rig.schedules(ADA).list()).items
    return schedule.id


def test_every_method_has_its_row() -> None:
    assert methods_of(Schedules).keys() == {*LOOKS, *CHANGES, *OWN, *NONE}


@pytest.mark.parametrize("call", CHANGES.values(), ids=CHANGES)
async def test_who_may_only_look_changes_nothing(rig: ScheduleRig, call: Call) -> None:
    schedule_id = await adas(rig)
    before, events = await rig.schedule(schedule_id), await rig.store.events.last()
    with pytest.raises(Forbidden):
        await call(rig.schedules(WATCHING_ADA), schedule_id)
    assert await rig.schedule(schedule_id) == before
    assert await rig.store.events.last() == events


async def test_recent_runs_leave_out_what_is_somebody_elses(rig: ScheduleRig) -> None:
    [listed] = (await rig.schedules(ADA).list(expand="recent")).items
    assert listed.expanded is not UNSET
    assert len(listed.expanded.recent) == 2
    assert (await rig.schedules(BOB).list(expand="recent")).items == []


async def test_names_of_others_mean_nothing(rig: ScheduleRig) -> None:
    for word in ("nightly", "ada/nightly"):
        with pytest.raises(NotFound):
            await rig.schedules(BOB).get(word)


async def test_who_may_only_look_creates_nothing(rig: ScheduleRig) -> None:
    with pytest.raises(Forbidden):
        await rig.create(actor=WATCHING_ADA, name="another")
    assert len((await rig.schedules(ADA).list()).items) == 1


async def test_private_templates_of_others_cannot_be_scheduled(rig: ScheduleRig) -> None:
    form = {"name": "secret", "spec": {"urls": ["https://ada.example/"]}}
    template = await rig.templates(ADA).create(form)
    own = await rig.create(actor=BOB)

    for ref in (template.id, "ada/secret", "secret"):
        with pytest.raises(NotFound):
            await rig.create(actor=BOB, name="theft", template=ref)
        with pytest.raises(NotFound):
            await rig.schedules(BOB).edit(own, template=ref)


async def test_jobs_belong_to_the_schedule_owner_also_in_manual_runs(rig: ScheduleRig) -> None:
    schedule_id = await adas(rig)
    for job in await rig.submitted(schedule_id):
        await rig.ends(job)
    job = await rig.run(schedule_id)
    assert job.owner == "ada"
    assert [s.job.owner for s in await rig.store.jobs.find(JobQuery(owner=BOB.id), 50)] == []


async def test_an_admin_cannot_make_a_schedule_use_what_its_owner_may_not_see(
    rig: ScheduleRig,
) -> None:
    form = {"name": "bobs", "spec": {"urls": ["https://bob.example/"]}}
    template = await rig.templates(BOB).create(form)
    schedule_id = await adas(rig)
    with pytest.raises(NotFound):
        await rig.schedules().edit(schedule_id, template=template.id, overrides={})
    assert (await rig.schedule(schedule_id)).template_id is None


async def test_a_refused_template_deletion_hides_schedules_of_other_users(
    rig: ScheduleRig,
) -> None:
    form = {"name": "shared", "spec": {"urls": ["https://ada.example/"]}}
    template = await rig.templates(ADA).create(form)
    await rig.templates(ADA).publish(template.id)
    of_bob = await rig.create(actor=BOB, name="bobs plan", template=template.id, overrides={})

    with pytest.raises(Conflict, match="is used by 1 schedule of other users") as alone:
        await rig.templates(ADA).delete(template.id, version=None)
    await rig.create(actor=ADA, name="mine", template=template.id, overrides={})
    with pytest.raises(Conflict, match="schedules mine and 1 of other users") as beside:
        await rig.templates(ADA).delete(template.id, version=None)
    with pytest.raises(Conflict, match="schedules bobs plan, mine;"):
        await rig.templates().delete(template.id, version=None)

    assert "bobs plan" not in f"{alone.value} {beside.value}"
    assert (await rig.schedule(of_bob)).template_id == template.id
