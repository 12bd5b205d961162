"""Publishing a template removes its credentials; its owner's schedules keep them."""

from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec_json import form_of
from crawlyard.core.templates.template import (
    CrawlTemplate,
    ParameterType,
    TemplateDraft,
    TemplateParameter,
)
from crawlyard.errors import Unconfirmed
from crawlyard.services.templates.files import data_of
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders_templates import rewrite
from tests.services.schedule_rig import HOUR, ScheduleRig, a_rig

ADA, BOB = Actor(id="ada"), Actor(id="bob")

URLS = ["https://a.example/"]
HOOK = {
    "url": "https://8.8.8.8/hook",
    "secret": "whsec_MwSbBNjQcoWgMUPtp5dAAwMK39HWXWOFUWdXoUGNc3g=",
}
TOKEN = TemplateParameter(name="token", default="s3cret")


@pytest.fixture
def rig(store: Store) -> ScheduleRig:
    return a_rig(store)


async def a_template(
    rig: ScheduleRig, *parameters: TemplateParameter, **spec: Any
) -> CrawlTemplate:
    """Return a new private template of ada's."""
    draft = TemplateDraft(name="news", spec={"urls": URLS, **spec}, parameters=parameters)
    return await rig.templates(ADA).create(data_of(draft))


async def with_token(rig: ScheduleRig) -> CrawlTemplate:
    return await a_template(rig, TOKEN, headers={"Authorization": "Bearer {{token}}"})


async def a_schedule(rig: ScheduleRig, template: CrawlTemplate, **fields: Any) -> str:
    return await rig.create(actor=ADA, template=template.id, **({"overrides": {}} | fields))


async def last(rig: ScheduleRig, schedule_id: str) -> Job:
    """Return the job of the next hour."""
    await rig.after(HOUR)
    assert (await rig.ledger(schedule_id))[-1].endswith("ran on_time")
    job = (await rig.submitted(schedule_id))[-1]
    await rig.ends(job)
    return job


async def test_the_owners_schedules_keep_the_default_of_a_credential(rig: ScheduleRig) -> None:
    template = await with_token(rig)
    schedule_id = await a_schedule(rig, template)
    before = await last(rig, schedule_id)

    saved = await rig.templates(ADA).publish(template.id, confirm=True)
    after = await last(rig, schedule_id)

    assert [(change.name, change.fields) for change in saved.kept] == [
        ("nightly", ("params.token",))
    ]
    assert saved.parameters[0].default is None
    assert replace(after.spec, since=None) == before.spec
    assert after.spec.headers == (("Authorization", "Bearer s3cret"),)
    assert await rig.ledger(schedule_id) == ["1 ran on_time", "2 ran on_time"]
    assert await rig.event_names(schedule_id) == ["created", "updated"]


async def test_publishing_changes_schedules_only_once_that_is_confirmed(rig: ScheduleRig) -> None:
    template = await with_token(rig)
    schedule_id = await a_schedule(rig, template)

    with pytest.raises(Unconfirmed, match="nightly"):
        await rig.templates(ADA).publish(template.id)

    assert await rig.event_names(schedule_id) == ["created"]
    assert not (await rig.templates(ADA).get(template.id)).public


async def test_publishing_does_not_change_schedules_that_lose_no_value(rig: ScheduleRig) -> None:
    template = await with_token(rig)
    pinned = await a_schedule(rig, template, name="pinned", template_version=1)
    own_value = await a_schedule(rig, template, name="said", params={"token": "mine"})
    elsewhere = await rig.create(actor=BOB, name="elsewhere")
    before = [await rig.schedule(schedule) for schedule in (pinned, own_value, elsewhere)]

    saved = await rig.templates(ADA).publish(template.id)
    await rig.after(HOUR)

    assert saved.kept == ()
    assert [(s.params, s.version) for s in before] == [
        (s.params, s.version) for s in [await rig.schedule(old.id) for old in before]
    ]
    jobs = [(await rig.submitted(schedule))[-1] for schedule in (pinned, own_value)]
    assert [job.spec.headers[0][1] for job in jobs] == ["Bearer s3cret", "Bearer mine"]


@pytest.mark.parametrize(
    ("spec", "parameters", "params", "fields"),
    [
        ({"headers": {"Cookie": "a=1", "Accept": "*/*"}}, (), {}, ("overrides.headers",)),
        ({"webhooks": [HOOK]}, (), {}, ("overrides.webhooks",)),
        (
            # with other text beside it, the header goes, and its parameter with it
            {"headers": {"X-Api-Key": "v1.{{key}}.x"}},
            (TemplateParameter(name="key", required=True),),
            {"key": "k"},
            ("params.key", "overrides.headers"),
        ),
        (
            {"user_agent": "Bot ({{about}})"},
            (
                TemplateParameter(
                    name="about", type=ParameterType.URL, default="https://u:p@a.example/"
                ),
            ),
            {},
            ("params.about",),
        ),
    ],
)
async def test_any_removed_field_stays_in_schedules_of_the_owner(
    rig: ScheduleRig, spec: Any, parameters: Any, params: Any, fields: tuple[str, ...]
) -> None:
    template = await a_template(rig, *parameters, **spec)
    schedule_id = await a_schedule(rig, template, params=params)
    before = await last(rig, schedule_id)

    saved = await rig.templates(ADA).publish(template.id, confirm=True)
    after = await last(rig, schedule_id)

    assert [change.fields for change in saved.kept] == [fields]
    assert form_of(replace(after.spec, since=None)) == form_of(before.spec)


async def test_the_event_of_each_schedule_names_what_changed_in_it(rig: ScheduleRig) -> None:
    headers = {"Authorization": "Bearer {{token}}", "Cookie": "a=1"}
    template = await a_template(rig, TOKEN, headers=headers)
    first = await a_schedule(rig, template)
    own = {"headers": {"Authorization": "Bearer {{token}}"}}
    second = await a_schedule(rig, template, name="second", overrides=own)

    saved = await rig.templates(ADA).publish(template.id, confirm=True)

    fields = {change.schedule_id: change.fields for change in saved.kept}
    assert fields[first] != fields[second]
    for schedule_id in (first, second):
        query = EventQuery(subject=schedule_id, names=frozenset({EventName.SCHEDULE_UPDATED}))
        [event] = await rig.store.events.events(query)
        assert event.data["changed"] == sorted({f.partition(".")[0] for f in fields[schedule_id]})


async def test_a_schedule_that_was_refused_already_is_left_as_it_is(rig: ScheduleRig) -> None:
    template = await with_token(rig)
    schedule_id = await a_schedule(rig, template)
    more = TemplateParameter(name="page", required=True)
    draft = TemplateDraft(
        name="news",
        spec={"urls": ["https://a.example/{{page}}"], "headers": template.spec["headers"]},
        parameters=(TOKEN, more),
    )
    await rewrite(rig.templates(ADA), template.id, draft)
    before = await rig.schedule(schedule_id)

    saved = await rig.templates(ADA).publish(template.id)

    assert saved.kept == ()
    assert await rig.schedule(schedule_id) == before


async def test_an_admin_who_publishes_keeps_the_values_of_the_owner(rig: ScheduleRig) -> None:
    template = await with_token(rig)
    schedule_id = await a_schedule(rig, template)
    await rig.templates().publish(template.id, confirm=True)
    schedule = await rig.schedule(schedule_id)
    assert (schedule.owner, schedule.params) == ("ada", {"token": "s3cret"})
