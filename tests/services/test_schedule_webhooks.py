"""Names of webhooks are looked up when a schedule is saved and a job is retried."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from crawlyard import JobQuery
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.errors import Invalid
from crawlyard.store.store import Store
from tests.builders import a_spec
from tests.jobs import submit_to
from tests.services.schedule_rig import HOUR, TO_ONE, ScheduleRig, a_rig

HOOK = "hooks.example.org"
TOLD = f"webhooks.0.url: {HOOK} has no address"
TELLING = {"urls": ["https://example.com/"], "webhooks": [{"url": f"https://{HOOK}/x"}]}


@dataclass
class CountingResolver:
    """A resolver of known names that counts its lookups."""

    known: dict[str, str] = field(default_factory=dict)
    lookups: int = 0

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.lookups += 1
        try:
            return [self.known[host]]
        except KeyError:
            raise OSError("not known") from None


@pytest.fixture
def names() -> CountingResolver:
    return CountingResolver()


@pytest.fixture
def rig(store: Store, names: CountingResolver) -> ScheduleRig:
    return a_rig(store, resolve=names.resolve)


async def test_a_schedule_whose_webhook_does_not_exist_is_refused(
    rig: ScheduleRig, names: CountingResolver
) -> None:
    with pytest.raises(Invalid, match=TOLD):
        await rig.create(overrides=TELLING)

    names.known[HOOK] = "93.184.216.34"
    assert await rig.create(overrides=TELLING)


async def test_so_is_one_whose_template_names_it(rig: ScheduleRig) -> None:
    template = await rig.templates().create({"name": "news", "spec": TELLING})

    with pytest.raises(Invalid, match=TOLD):
        await rig.create(template=template.id, overrides={})


async def test_one_that_leads_inside_is_refused_as_well(
    rig: ScheduleRig, names: CountingResolver
) -> None:
    names.known[HOOK] = "10.0.0.5"

    with pytest.raises(Invalid, match=r"webhooks\.0\.url: .*10\.0\.0\.5"):
        await rig.create(overrides=TELLING)


async def test_an_edit_that_names_it_is_refused_and_changes_nothing(rig: ScheduleRig) -> None:
    schedule_id = await rig.create()
    before = await rig.schedule(schedule_id)

    with pytest.raises(Invalid, match=TOLD):
        await rig.schedules().edit(schedule_id, overrides=TELLING)

    assert await rig.schedule(schedule_id) == before


async def test_when_it_runs_no_name_is_waited_for(
    rig: ScheduleRig, names: CountingResolver
) -> None:
    names.known[HOOK] = "93.184.216.34"
    schedule_id = await rig.create(overrides=TELLING)
    names.known.clear()
    names.lookups = 0

    await rig.schedules().edit(schedule_id, description="as before")
    await rig.after(TO_ONE)
    await rig.after(HOUR)

    assert names.lookups == 0
    assert len(await rig.submitted(schedule_id)) == 1


async def test_a_retry_whose_webhook_has_gone_is_refused(
    rig: ScheduleRig, names: CountingResolver
) -> None:
    names.known[HOOK] = "93.184.216.34"
    spec = a_spec(webhooks=(JobWebhook(url=f"https://{HOOK}/x"),))
    job = await rig.ends(await submit_to(rig.submitter, LOCAL, spec), State.FAILED)
    names.known.clear()

    with pytest.raises(Invalid, match=TOLD):
        await rig.writer.retry(LOCAL, job.id)

    assert len(await rig.store.jobs.find(JobQuery(), 50)) == 1
    names.known[HOOK] = "93.184.216.34"
    assert (await rig.writer.retry(LOCAL, job.id)).retry_of == job.id
