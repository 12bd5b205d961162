"""A change names a version, and a dry run changes nothing."""

from typing import Any

import pytest

from crawlyard.errors import Conflict, Stale
from crawlyard.services.surface import Surface
from tests.web.rig import URL

HOOK = "https://93.184.215.14/hook"


async def filled(yard: Surface) -> tuple[str, str]:
    """Return the ids of a webhook and of a job; a template `t` and a schedule `s` made it."""
    await yard.templates.create({"name": "t", "spec": {"urls": [URL]}})
    await yard.schedules.create("s", "@daily", template="t")
    hook = await yard.webhooks.create(HOOK)
    return hook.id, (await yard.schedules.run("s")).id


async def test_a_change_that_names_an_old_version_says_which_there_is(yard: Surface) -> None:
    hook, job = await filled(yard)
    await yard.jobs.edit(job, {"name": "n"})
    await yard.templates.edit("t", {"description": "n"}, version=None)
    await yard.schedules.edit("s", description="n")
    await yard.webhooks.edit(hook, description="n")
    calls: list[Any] = [
        lambda: yard.jobs.pause(job, version=1),
        lambda: yard.jobs.deletable(job, version=1),
        lambda: yard.templates.restore("t", 1, latest=1),
        lambda: yard.templates.deletable("t", version=1),
        lambda: yard.schedules.pause("s", version=1),
        lambda: yard.schedules.deletable("s", version=1),
        lambda: yard.webhooks.disable(hook, version=1),
        lambda: yard.webhooks.rotate(hook, version=1),
        lambda: yard.webhooks.deletable(hook, version=1),
    ]

    for call in calls:
        with pytest.raises(Stale, match="now at version 2") as refused:
            await call()
        assert refused.value.current == 2

    assert (await yard.webhooks.disable(hook, version=2)).active is False


async def test_a_deletion_plan_lists_the_objects_to_delete(yard: Surface) -> None:
    hook, job = await filled(yard)

    with pytest.raises(Conflict, match="schedule s"):
        await yard.templates.deletable("t")
    schedule = await yard.schedules.deletable("s")
    webhook = await yard.webhooks.deletable(hook)
    await yard.schedules.delete("s")
    template = await yard.templates.deletable("t")
    await yard.jobs.cancel(job)
    deletion = await yard.jobs.deletable(job)

    assert (schedule.name, schedule.runs) == ("s", 1)
    assert (webhook.url, webhook.deliveries) == (HOOK, 0)
    assert (template.name, template.versions) == ("t", 1)
    assert (deletion.job_id, deletion.pages) == (job, 0)


async def test_a_job_is_planned_and_not_made(yard: Surface) -> None:
    await yard.templates.create({"name": "t", "spec": {"urls": [URL]}})

    plan = await yard.jobs.plan({"limits": {"pages": 5}}, template="t")

    assert (plan.limits.pages, plan.config["urls"], plan.cut) == (5, [URL], ())
    assert plan.sources["urls"] == "template v1"
    assert (await yard.jobs.list()).items == []
