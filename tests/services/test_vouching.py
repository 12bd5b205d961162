"""No user gains the grants of another: private addresses are opened only by users who may.

`local` on the command line needs no grant; the same user over the API, whose token
anyone may hold, does. Each test is one way in which the API could act with the rights of `local`.
"""

from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL, Actor, Grant, Role
from crawlyard.core.jobs.job import Job
from crawlyard.core.schedules.schedule import Misfire, Overlap, TickReason
from crawlyard.core.templates.template import TemplateDraft
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.surface import Surface
from crawlyard.services.templates.files import data_of
from crawlyard.services.templates.rendering import render_template
from crawlyard.store.store import Store
from tests.builders_templates import rewrite
from tests.jobs import submit_to
from tests.services.hooks import webhooks_of, yard_of
from tests.services.schedule_rig import HOUR, TO_ONE, ScheduleRig, a_rig

API = Actor(id=LOCAL.id, role=Role.ADMIN)
"""The local user over the API."""

ADA = Actor(id="ada")
INSIDE = {"urls": ["http://10.0.0.5/"], "allow_addresses": ["10.0.0.5"]}
OUTSIDE = {"urls": ["https://example.com/"]}
NOT_GRANTED = "allow_addresses: not granted on this server"


@pytest.fixture
def rig(store: Store) -> ScheduleRig:
    return a_rig(store)


def a_draft(spec: dict[str, Any], **fields: Any) -> TemplateDraft:
    return TemplateDraft(**{"name": "news", "spec": spec} | fields)


async def template(
    rig: ScheduleRig, spec: dict[str, Any], actor: Actor = LOCAL, **fields: Any
) -> str:
    return (await rig.templates(actor).create(data_of(a_draft(spec, **fields)))).id


async def scheduled(rig: ScheduleRig, ref: str, actor: Actor = LOCAL, **fields: Any) -> str:
    """Return the id of a schedule of a template, an hour before its first instant."""
    return await rig.create(actor=actor, template=ref, **{"overrides": {}} | fields)


async def next_run(rig: ScheduleRig, schedule_id: str) -> Job | None:
    """Let an hour pass; return the job that was submitted, if it was not refused for a grant."""
    before = await rig.submitted(schedule_id)
    await rig.after(TO_ONE if rig.clock.now().minute else HOUR)
    [tick] = await rig.store.ticks.ticks(schedule_id, limit=1)
    if tick.job_id is None:
        assert tick.reason is TickReason.REFUSED
        assert tick.detail.startswith(NOT_GRANTED)
        assert await rig.submitted(schedule_id) == before
        return None
    return (await rig.store.jobs.get(tick.job_id)).job


class TestTemplates:
    async def test_what_was_said_by_one_who_may_is_run_without_a_grant(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await scheduled(rig, await template(rig, INSIDE))
        job = await next_run(rig, schedule_id)
        assert job is not None
        assert job.spec.allow_addresses == ("10.0.0.5",)
        assert job.by_grant == ()

    async def test_an_edit_opens_nothing_for_a_schedule_that_follows_it(
        self, rig: ScheduleRig
    ) -> None:
        ref = await template(rig, OUTSIDE)
        schedule_id = await scheduled(rig, ref)
        await rewrite(rig.templates(API), ref, a_draft(INSIDE))
        assert await next_run(rig, schedule_id) is None

    async def test_an_edit_leads_no_opened_address_to_another_use(self, rig: ScheduleRig) -> None:
        ref = await template(rig, INSIDE)
        follows = await scheduled(rig, ref)
        pinned = await scheduled(rig, ref, name="pinned", template_version=1)
        elsewhere = INSIDE | {"urls": ["http://10.0.0.5/delete?all"]}

        await rewrite(rig.templates(API), ref, a_draft(elsewhere))

        assert await next_run(rig, follows) is None
        [ran] = await rig.submitted(pinned)
        assert ran.spec.urls == ("http://10.0.0.5/",)

    async def test_it_is_not_trusted_again_because_its_owner_edits_it(
        self, rig: ScheduleRig
    ) -> None:
        ref = await template(rig, INSIDE)
        schedule_id = await scheduled(rig, ref)
        elsewhere = INSIDE | {"urls": ["http://10.0.0.5/delete?all"]}
        await rewrite(rig.templates(API), ref, a_draft(elsewhere))
        await rewrite(rig.templates(), ref, a_draft(elsewhere | {"name": "mine"}))
        assert await next_run(rig, schedule_id) is None

    async def test_another_name_or_description_takes_no_trust(self, rig: ScheduleRig) -> None:
        ref = await template(rig, INSIDE)
        schedule_id = await scheduled(rig, ref)
        await rewrite(rig.templates(API), ref, a_draft(INSIDE, name="other", description="why"))
        assert await next_run(rig, schedule_id) is not None

    async def test_an_old_version_is_not_brought_back(self, rig: ScheduleRig) -> None:
        ref = await template(rig, INSIDE)
        await rewrite(rig.templates(), ref, a_draft(OUTSIDE))
        schedule_id = await scheduled(rig, ref)

        await rig.templates(API).restore(ref, 1)

        assert await next_run(rig, schedule_id) is None
        await rig.templates().restore(ref, 1)
        assert await next_run(rig, schedule_id) is not None

    async def test_publishing_neither_gives_trust_nor_takes_it(self, rig: ScheduleRig) -> None:
        mine, outside = await template(rig, INSIDE), await template(rig, OUTSIDE, name="theirs")
        of_mine = await scheduled(rig, mine)
        of_theirs = await scheduled(rig, outside, name="theirs")
        await rewrite(rig.templates(API), outside, a_draft(INSIDE, name="theirs"))

        await rig.templates(API).publish(mine)
        await rig.templates().publish(outside)

        assert await next_run(rig, of_mine) is not None
        assert await rig.submitted(of_theirs) == []

    async def test_what_is_imported_or_copied_over_the_api_is_not_trusted(
        self, rig: ScheduleRig
    ) -> None:
        imported = await template(rig, INSIDE, API)
        own = await template(rig, INSIDE, name="own")
        copied = (await rig.templates(API).duplicate(own)).id
        copied_from = (await rig.templates().duplicate(imported)).id
        bobs = await template(rig, INSIDE, ADA)
        await rig.templates(ADA).publish(bobs)

        for ref in (imported, copied, copied_from, bobs):
            with pytest.raises(Forbidden, match=NOT_GRANTED):
                await scheduled(rig, ref)

    async def test_the_command_line_lends_no_rights_to_a_template_either(
        self, rig: ScheduleRig
    ) -> None:
        for actor in (API, ADA):
            ref = await template(rig, INSIDE, actor)
            filled = await render_template(rig.store, LOCAL, ref)
            with pytest.raises(Forbidden, match="others may have changed template"):
                await submit_to(rig.submitter, LOCAL, filled.spec, origin=filled.origin)

    async def test_a_retry_needs_the_grants_of_its_job_also_without_the_template(
        self, rig: ScheduleRig
    ) -> None:
        ref = await template(rig, INSIDE)
        filled = await render_template(rig.store, LOCAL, ref)
        job = await submit_to(rig.submitter, LOCAL, filled.spec, origin=filled.origin)
        await rig.ends(job)
        await rig.templates().delete(ref, version=None)

        again = await rig.writer.retry(LOCAL, job.id)

        assert (again.spec, again.by_grant) == (job.spec, ())
        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await rig.writer.retry(API, job.id)


class TestVouchedSchedules:
    @pytest.mark.parametrize(
        "overrides",
        [
            INSIDE,
            OUTSIDE | {"ignore_robots": True},
            OUTSIDE | {"allow_private": True},
        ],
    )
    async def test_an_edit_over_the_api_cannot_ask_for_more(
        self, rig: ScheduleRig, overrides: dict[str, Any]
    ) -> None:
        schedule_id = await rig.create()
        with pytest.raises(Forbidden, match="not granted on this server"):
            await rig.schedules(API).edit(schedule_id, overrides=overrides)

    async def test_nor_can_one_that_is_created_there(self, rig: ScheduleRig) -> None:
        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await rig.create(actor=API, overrides=INSIDE)

    async def test_an_edit_of_what_it_crawls_takes_its_trust_for_good(
        self, rig: ScheduleRig
    ) -> None:
        ref = await template(rig, OUTSIDE)
        schedule_id = await scheduled(rig, ref)
        elsewhere = {"urls": ["http://10.0.0.5/delete?all"]}
        await rig.schedules(API).edit(schedule_id, overrides={"tags": ["mine"]})

        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await rig.schedules().edit(schedule_id, overrides=INSIDE)
        await rewrite(rig.templates(), ref, a_draft(INSIDE | elsewhere))

        assert await next_run(rig, schedule_id) is None

    async def test_another_template_or_version_takes_it_as_well(self, rig: ScheduleRig) -> None:
        ref = await template(rig, INSIDE)
        await rewrite(rig.templates(), ref, a_draft(OUTSIDE))
        schedule_id = await scheduled(rig, ref)

        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await rig.schedules(API).edit(schedule_id, template_version=1)
        await rig.schedules(API).edit(schedule_id, template_version=2)

        assert not (await rig.schedule(schedule_id)).trusted

    async def test_when_it_runs_is_not_what_it_runs(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create()
        await rig.schedules(API).edit(schedule_id, when="@daily", description="why")
        assert (await rig.schedule(schedule_id)).trusted

    async def test_a_user_without_a_grant_cannot_edit_the_timetable_of_a_granted_schedule(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(overrides=INSIDE)
        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await rig.schedules(API).edit(schedule_id, when="* * * * *")

    async def test_to_run_it_now_or_to_backfill_it_says_nothing_new(self, rig: ScheduleRig) -> None:
        schedule_id = await rig.create(
            overrides=INSIDE, overlap=Overlap.ALLOW, misfire=Misfire.SKIP
        )
        since = rig.clock.wall()
        await rig.after(3 * HOUR)

        now = await rig.run(schedule_id, API)
        made_up = await rig.schedules(API).backfill(schedule_id, since, dry_run=False)

        assert len(made_up.runs) == 2
        jobs = await rig.submitted(schedule_id)
        assert now in jobs
        assert {(job.spec.allow_addresses, job.by_grant) for job in jobs} == {(("10.0.0.5",), ())}

    async def test_who_changes_anothers_schedule_does_not_vouch_for_him(
        self, rig: ScheduleRig
    ) -> None:
        schedule_id = await rig.create(actor=ADA)
        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await rig.schedules().edit(schedule_id, overrides=INSIDE)


class TestWebhooks:
    async def test_a_template_leads_no_message_to_an_opened_address(self, rig: ScheduleRig) -> None:
        ref = await template(rig, INSIDE)
        schedule_id = await scheduled(rig, ref)
        telling = INSIDE | {"webhooks": [{"url": "http://10.0.0.5/delete?all"}]}
        await rewrite(rig.templates(API), ref, a_draft(telling))
        assert await next_run(rig, schedule_id) is None

    async def test_another_target_or_secret_keeps_nothing_that_was_opened(
        self, rig: ScheduleRig
    ) -> None:
        local, api = (webhooks_of(rig.store, rig.clock, actor) for actor in (LOCAL, API))
        hook = await local.create("http://10.0.0.5/", allow_addresses=("10.0.0.5",))

        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await api.edit(hook.id, url="http://10.0.0.5/other")
        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await api.edit(hook.id, allow_addresses=("10.0.0.0/8",))
        rotated = await api.rotate(hook.id)

        assert (rotated.url, rotated.allow_addresses) == (hook.url, hook.allow_addresses)
        assert (await rig.store.webhooks.get(hook.id)).by_grant == ()

    async def test_who_changes_anothers_webhook_does_not_vouch_for_him(
        self, rig: ScheduleRig
    ) -> None:
        local, adas = (webhooks_of(rig.store, rig.clock, actor) for actor in (LOCAL, ADA))
        settings = Surface(yard_of(rig.store, rig.clock).services, API).settings
        await settings.put("grants", {"addresses": True})
        hook = await adas.create("http://10.0.0.5/", allow_addresses=("10.0.0.5",))
        stored = await rig.store.webhooks.get(hook.id)

        await local.edit(hook.id, url="http://10.0.0.5/other")
        changed = await rig.store.webhooks.get(hook.id)
        await settings.put("grants", {})

        assert changed.by_grant == stored.by_grant == (Grant.ADDRESSES,)
        with pytest.raises(Forbidden, match=NOT_GRANTED):
            await local.edit(hook.id, url="http://10.0.0.5/")

    async def test_a_secret_that_is_hidden_signs_for_no_other_target(
        self, rig: ScheduleRig
    ) -> None:
        webhooks = [{"url": "https://example.com/", "secret": "***"}]
        with pytest.raises(Invalid, match="stands for a hidden value"):
            await rig.create(actor=API, overrides=OUTSIDE | {"webhooks": webhooks})
        with pytest.raises(Invalid, match="stands for a hidden value"):
            await template(rig, OUTSIDE | {"webhooks": webhooks}, API)


class TestVouchedSettings:
    async def test_defaults_of_the_site_open_nothing_for_a_schedule(self, rig: ScheduleRig) -> None:
        settings = Surface(yard_of(rig.store, rig.clock).services, API).settings
        schedule_id = await rig.create()
        await settings.put("defaults", {"allow_private": True})
        job = await next_run(rig, schedule_id)
        assert job is not None
        assert (job.spec.allow_private, job.by_grant) == (False, ())

    async def test_only_an_admin_grants(self, rig: ScheduleRig) -> None:
        settings = Surface(yard_of(rig.store, rig.clock).services, ADA).settings
        with pytest.raises(Forbidden):
            await settings.put("grants", {"addresses": True})

    async def test_what_is_granted_to_all_is_remembered_as_such(self, rig: ScheduleRig) -> None:
        settings = Surface(yard_of(rig.store, rig.clock).services, API).settings
        await settings.put("grants", {"addresses": True})
        schedule_id = await rig.create(actor=ADA, overrides=INSIDE, overlap=Overlap.ALLOW)

        job = await next_run(rig, schedule_id)
        await settings.put("grants", {})

        assert job is not None
        assert job.by_grant == (Grant.ADDRESSES,)
        assert await next_run(rig, schedule_id) is None
