"""Jobs created together are checked against settings that are read once for all."""

from dataclasses import dataclass, field

from crawlyard.core.access.policy import Section, SectionName
from crawlyard.core.events.event import Event
from crawlyard.core.templates.template import TemplateDraft
from crawlyard.store.access.settings import SettingStore
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_templates import rewrite
from tests.services.schedule_rig import HOUR, TO_ONE, a_rig


@dataclass
class Counted:
    """Settings that record the sections read."""

    inner: SettingStore
    asked: list[str] = field(default_factory=list)

    async def get(self, name: str) -> Section:
        self.asked.append(name)
        return await self.inner.get(name)

    async def save(self, section: Section, event: Event | None = None) -> None:
        await self.inner.save(section, event)


async def test_the_schedules_of_one_batch_ask_for_the_ceilings_once(store: Store) -> None:
    counted = Counted(store.settings)
    rig = a_rig(store.with_parts(settings=counted))
    ids = [await rig.create(name=f"n{number}") for number in range(12)]
    counted.asked.clear()

    await rig.after(TO_ONE)

    assert counted.asked == [SectionName.CEILINGS]
    assert [len(await rig.submitted(schedule_id)) for schedule_id in ids] == [1] * 12


async def test_the_next_batch_sees_what_has_changed_since(store: Store) -> None:
    rig = a_rig(store)
    spec = {"urls": ["https://example.com/"], "limits": {"pages": 100}}
    template = await rig.templates().create({"name": "news", "spec": spec})
    schedule_id = await rig.create(template=template.id, overrides={})
    await rig.after(TO_ONE)
    await rig.ends((await rig.submitted(schedule_id))[0])

    ceilings = Section(
        name=SectionName.CEILINGS.value, value={"pages": 7}, version=1, updated_at=NOW
    )
    await store.settings.save(ceilings)
    named = TemplateDraft(name="news", spec=spec | {"tags": ["new"]})
    await rewrite(rig.templates(), template.id, named)
    await rig.after(HOUR)

    first, second = await rig.submitted(schedule_id)
    assert (first.spec.limits.pages, first.spec.tags) == (100, ())
    assert (second.spec.limits.pages, second.spec.tags) == (7, ("new",))
