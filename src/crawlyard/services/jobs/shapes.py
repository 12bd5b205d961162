"""Response shapes of jobs, with waiting reasons and the template and schedule of origin."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime

from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.checkpoint import Shard, Standing
from crawlyard.core.jobs.detail_answers import JobTiesOut
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.waiting import Wait
from crawlyard.core.templates.answers import TemplateOut
from crawlyard.errors import NotFound
from crawlyard.services.jobs.waits import waits_of
from crawlyard.services.schedules.answers import schedule_answer
from crawlyard.services.schedules.lookup import find_schedule
from crawlyard.services.templates.lookup import find_template
from crawlyard.store.store import Store

TIES = {"template": Permit.TEMPLATES_READ, "schedule": Permit.SCHEDULES_READ}
"""Fields by which a job can be expanded, and the permit for each."""


async def jobs_out(store: Store, now: datetime, standings: Sequence[Standing]) -> Sequence[JobOut]:
    """Return the responses for jobs, in their order."""
    waits = await waits_of(store, now, standings)
    return [
        JobOut.of(standing, progress_of_standing(standing), now, waits.get(standing.job.id, ()))
        for standing in standings
    ]


def new_job_out(job: Job, now: datetime, waits: Sequence[Wait]) -> JobOut:
    """Return the response for a job that was just stored."""
    new = Standing(job=job, shard=Shard())
    return JobOut.of(new, progress_of_standing(new), now, waits)


async def ties_of(
    store: Store, actor: Actor, origin: Origin, names: Collection[str]
) -> JobTiesOut | None:
    """Return the template and schedule of *origin*, if named in *names* and visible."""
    if not names:
        return None
    template, schedule = None, None
    with suppress(NotFound):
        if "template" in names and origin.template_id is not None:
            made_of = await find_template(store, actor, origin.template_id, origin.template_version)
            template = TemplateOut.of(made_of)
    with suppress(NotFound):
        if "schedule" in names and origin.schedule_id is not None:
            made_by = await find_schedule(store, actor, origin.schedule_id)
            schedule = await schedule_answer(store, made_by)
    return JobTiesOut(template=template, schedule=schedule)
