"""`expand`: what a job belongs to and a schedule's last ticks, added to an answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request
from msgspec import Struct

from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.jobs.job import Job
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.templates.template import CrawlTemplate
from crawlyard.errors import Forbidden, Invalid, NotFound
from crawlyard.web.asking import SiteOf, proved
from crawlyard.web.filters.filtering import Values, of_parameter, words
from crawlyard.web.site import Site
from crawlyard.web.wire.jobs.expanded import ExpandedJobOut, JobTiesOut
from crawlyard.web.wire.jobs.jobs import JobOut
from crawlyard.web.wire.schedules.schedules import ScheduleOut
from crawlyard.web.wire.templates.templates import TemplateOut

T = TypeVar("T")

Asked = frozenset[str]


def _expansion(needs: Mapping[str, Permit]) -> Callable[..., Awaitable[Asked]]:
    """Return a dependency that reads `expand`; *needs* has its words and what each one takes."""
    told = f"Adds `expanded` with what is named: {', '.join(f'`{name}`' for name in needs)}."

    async def asked(
        request: Request,
        site: SiteOf,
        expand: Annotated[Values, Query(max_length=len(needs), description=told)] = None,
    ) -> Asked:
        found = words("expand", expand)
        unknown = next((word for word in found if word not in needs), None)
        with of_parameter("expand"):
            if unknown is not None:
                raise Invalid("expand", f"expected {', '.join(needs)}, got {unknown!r}")
        if found:
            caller = await proved(request, site)
            missing = sorted({needs[word] for word in found} - caller.permits)
            if missing:
                raise Forbidden(f"expand needs {', '.join(missing)}, which you do not have")
        return frozenset(found)

    return asked


JobExpansion = Annotated[
    Asked,
    Depends(_expansion({"template": Permit.TEMPLATES_READ, "schedule": Permit.SCHEDULES_READ})),
]
ScheduleExpansion = Annotated[Asked, Depends(_expansion({"recent": Permit.JOBS_READ}))]


class Ties(Struct, frozen=True, kw_only=True):
    """What a job belongs to; ``None``: nothing, not asked for, or not visible to the actor."""

    template: CrawlTemplate | None = None  # at the version that the job was made of
    schedule: CrawlSchedule | None = None

    @property
    def versions(self) -> tuple[object, ...]:
        """Return what changes when one of them does."""
        template, schedule = self.template, self.schedule
        return (
            template and template.version,
            schedule and (schedule.version, schedule.beat),  # its runs make no version
        )


async def ties_of(site: Site, actor: Actor, job: Job, asked: Asked) -> Ties | None:
    """Return what *job* belongs to, ``None`` if nothing was asked for."""
    if not asked:
        return None
    origin, template, schedule = job.origin, None, None
    if "template" in asked and origin.template_id is not None:
        found = site.yard.templates.get(actor, origin.template_id, origin.template_version)
        template = await _visible(found)
    if "schedule" in asked and origin.schedule_id is not None:
        schedule = await _visible(site.yard.scheduler.get(actor, origin.schedule_id))
    return Ties(template=template, schedule=schedule)


async def expanded(site: Site, shape: JobOut, ties: Ties) -> ExpandedJobOut:
    """Return the shape of a job with what it belongs to."""
    template = schedule = None
    if ties.template is not None:
        template = TemplateOut.of(ties.template)
    if ties.schedule is not None:
        secret = await site.yard.scheduler.secret_params([ties.schedule])
        schedule = ScheduleOut.of(ties.schedule, secret[ties.schedule.id])
    told = JobTiesOut(template=template, schedule=schedule)
    return ExpandedJobOut.filled(shape, expanded=told)


async def _visible(look: Awaitable[T]) -> T | None:
    try:
        return await look
    except NotFound:
        return None
