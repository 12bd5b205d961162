"""User B cannot see, use, change or delete user A's schedules, through no method there is."""

from collections.abc import Awaitable, Callable, Mapping

import pytest

from crawlyard import JobQuery
from crawlyard.core.access.user import LOCAL, Actor, Role
from crawlyard.core.templates.template import TemplateDraft
from crawlyard.errors import Conflict, Forbidden, NotFound
from crawlyard.services.schedules.scheduler import Scheduler
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.store import Store
from tests.services.schedule_rig import HOUR, MIDNIGHT, Rig, a_rig

ADA = Actor(id="ada")
BOB = Actor(id="bob")
WATCHING_ADA = Actor(id="ada", role=Role.VIEWER)

Call = Callable[[Scheduler, Actor, str], Awaitable[object]]

CHANGES: Mapping[str, Call] = {
    "update": lambda s, actor, i: s.update(actor, i, {"when": "@daily"}),
    "toggle": lambda s, actor, i: s.toggle(actor, i, enabled=False, reason="mine"),
    "run_now": lambda s, actor, i: s.run_now(actor, i),
    "backfill": lambda s, actor, i: s.backfill(
        actor, i, MIDNIGHT - HOUR, MIDNIGHT + HOUR, dry_run=False
    ),
    "delete": lambda s, actor, i: s.delete(actor, i),
    "deletable": lambda s, actor, i: s.deletable(actor, i),
    "changeable": lambda s, actor, i: s.changeable(actor, i),
}
LOOKS = {"get", "next_runs", "due_between", "runs", "list", "calendar", "hours", "recent"}
OWN = {"create"}  # of what is not there yet: tested below
# they take no actor
NOBODYS = {"is_due", "overdue", "secret_params", "after_run", "nudge", "round", "run"}


@pytest.fixture
def store() -> Store:
    return open_in_memory()  # rules about owners are none of the store's


@pytest.fixture
async def rig(store: Store) -> Rig:
    rig = a_rig(store)
    await rig.create(actor=ADA, overrides={"urls": ["https://ada.example/"]})
    await rig.after(2 * HOUR)
    return rig


async def adas(rig: Rig) -> str:
    [schedule] = await rig.scheduler.list(ADA)
    return schedule.id


def test_every_method_has_its_row() -> None:
    methods = {name for name in dir(Scheduler) if not name.startswith("_")}
    assert methods == {*LOOKS, *CHANGES, *OWN, *NOBODYS}


@pytest.mark.parametrize("call", CHANGES.values(), ids=CHANGES)
async def test_who_may_only_look_changes_nothing(rig: Rig, call: Call) -> None:
    schedule_id = await adas(rig)
    before, events = await rig.schedule(schedule_id), await rig.store.events.last()
    with pytest.raises(Forbidden):
        await call(rig.scheduler, WATCHING_ADA, schedule_id)
    assert await rig.schedule(schedule_id) == before
    assert await rig.store.events.last() == events


async def test_recent_runs_leave_out_what_is_somebody_elses(rig: Rig) -> None:
    hers = await rig.scheduler.list(ADA)
    assert set(await rig.scheduler.recent(ADA, hers)) == {one.id for one in hers}
    assert await rig.scheduler.recent(BOB, hers) == {}


async def test_names_of_others_mean_nothing(rig: Rig) -> None:
    for word in ("nightly", "ada/nightly"):
        with pytest.raises(NotFound):
            await rig.scheduler.get(BOB, word)


async def test_who_may_only_look_creates_nothing(rig: Rig) -> None:
    with pytest.raises(Forbidden):
        await rig.create(actor=WATCHING_ADA, name="another")
    assert len(await rig.scheduler.list(ADA)) == 1


async def test_private_templates_of_others_cannot_be_scheduled(rig: Rig) -> None:
    draft = TemplateDraft(name="secret", spec={"urls": ["https://ada.example/"]})
    template = await rig.templates.create(ADA, draft)
    own = await rig.create(actor=BOB)

    for ref in (template.id, "ada/secret", "secret"):
        with pytest.raises(NotFound):
            await rig.create(actor=BOB, name="theft", template=ref)
        with pytest.raises(NotFound):
            await rig.scheduler.update(BOB, own, {"template": ref})


async def test_jobs_belong_to_the_owner_of_the_schedule_whoever_asks(rig: Rig) -> None:
    schedule_id = await adas(rig)
    for job in await rig.submitted(schedule_id):
        await rig.ends(job)
    job = await rig.scheduler.run_now(LOCAL, schedule_id)
    assert job.owner == "ada"
    assert [s.job.owner for s in await rig.store.jobs.find(JobQuery(owner=BOB.id), 50)] == []


async def test_an_admin_cannot_make_a_schedule_use_what_its_owner_may_not_see(rig: Rig) -> None:
    draft = TemplateDraft(name="bobs", spec={"urls": ["https://bob.example/"]})
    template = await rig.templates.create(BOB, draft)
    schedule_id = await adas(rig)
    with pytest.raises(NotFound):
        await rig.scheduler.update(LOCAL, schedule_id, {"template": template.id, "overrides": {}})
    assert (await rig.schedule(schedule_id)).template_id is None


async def test_who_deletes_a_template_hears_no_names_of_what_others_made_of_it(rig: Rig) -> None:
    draft = TemplateDraft(name="shared", spec={"urls": ["https://ada.example/"]})
    template = await rig.templates.create(ADA, draft)
    await rig.templates.publish(ADA, template.id)
    theirs = await rig.create(actor=BOB, name="bobs plan", template=template.id, overrides={})

    with pytest.raises(Conflict, match="is used by 1 schedule of other users") as alone:
        await rig.templates.delete(ADA, template.id)
    await rig.create(actor=ADA, name="mine", template=template.id, overrides={})
    with pytest.raises(Conflict, match="schedules mine and 1 of other users") as beside:
        await rig.templates.delete(ADA, template.id)
    with pytest.raises(Conflict, match="schedules bobs plan, mine;"):
        await rig.templates.delete(LOCAL, template.id)

    assert "bobs plan" not in f"{alone.value} {beside.value}"
    assert (await rig.schedule(theirs)).template_id == template.id
