"""`expand`: what a job or a schedule belongs to, put beside it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated

from fastapi import Depends, Query, Request

from crawlyard.core.credential import Caller
from crawlyard.core.job import Job
from crawlyard.core.schedule import CrawlSchedule
from crawlyard.core.user import Actor, Permit
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.relating import Related, Relation
from crawlyard.web.asking import SiteOf, proved
from crawlyard.web.filtering import Values, of_parameter, words
from crawlyard.web.site import Site
from crawlyard.web.wire.access import UserOut
from crawlyard.web.wire.expanded import (
    ExpandedJobOut,
    ExpandedScheduleOut,
    JobTiesOut,
    RecentTickOut,
    ScheduleTiesOut,
)
from crawlyard.web.wire.jobs import JobOut
from crawlyard.web.wire.schedules import ScheduleOut
from crawlyard.web.wire.templates import TemplateOut

NEEDS: Mapping[Relation, Permit] = {
    Relation.TEMPLATE: Permit.TEMPLATES_READ,
    Relation.SCHEDULE: Permit.SCHEDULES_READ,
    Relation.RECENT: Permit.JOBS_READ,
}
"""What it takes to see a thing by itself, and so beside another."""

Asked = frozenset[Relation]


def _expansion(*allowed: Relation) -> Callable[..., Awaitable[Asked]]:
    names = [relation.value for relation in allowed]
    told = f"Adds `expanded` with what is named: {', '.join(f'`{name}`' for name in names)}."

    async def asked(
        request: Request,
        site: SiteOf,
        expand: Annotated[Values, Query(max_length=len(names), description=told)] = None,
    ) -> Asked:
        found = words("expand", expand)
        unknown = next((word for word in found if word not in names), None)
        with of_parameter("expand"):
            if unknown is not None:
                raise Invalid("expand", f"expected {', '.join(names)}, got {unknown!r}")
        relations = frozenset(map(Relation, found))
        if relations:
            _check(await proved(request, site), relations)
        return relations

    return asked


def _check(caller: Caller, asked: Asked) -> None:
    """Check that *caller* may see by itself what he asks for beside another thing.

    Raises:
        Forbidden: his role or his token does not permit it.
    """
    missing = sorted({NEEDS[one] for one in asked if one in NEEDS} - caller.permits)
    if missing:
        raise Forbidden(f"expand needs {', '.join(missing)}, which you do not have")


JobExpansion = Annotated[
    Asked, Depends(_expansion(Relation.TEMPLATE, Relation.SCHEDULE, Relation.OWNER))
]
ScheduleExpansion = Annotated[
    Asked, Depends(_expansion(Relation.TEMPLATE, Relation.OWNER, Relation.RECENT))
]


async def related(
    site: Site, actor: Actor, things: Sequence[Job | CrawlSchedule], asked: Asked
) -> list[Related | None]:
    """Return what each of *things* belongs to, in their order; ``None``: nobody asked."""
    if not asked:
        return [None] * len(things)
    return [*await site.relations.of(actor, things, asked)]


async def expanded_jobs(
    site: Site, shapes: Sequence[JobOut], found: Sequence[Related | None]
) -> list[JobOut]:
    """Return the shapes of jobs with what they belong to, where that was asked for."""
    schedules = [one.schedule for one in found if one and one.schedule]
    secret = await site.yard.scheduler.secret_params(schedules)

    def expanded(shape: JobOut, one: Related | None) -> JobOut:
        if one is None:
            return shape
        at = one.schedule
        schedule = None if at is None else ScheduleOut.of(at, secret[at.id])
        ties = JobTiesOut(template=_template(one), owner=_owner(one), schedule=schedule)
        return ExpandedJobOut(**dict(shape), expanded=ties)

    return [expanded(*pair) for pair in zip(shapes, found, strict=True)]


def expanded_schedule(shape: ScheduleOut, one: Related | None) -> ScheduleOut:
    """Return the shape of a schedule with what it belongs to, where that was asked for."""
    if one is None:
        return shape
    recent = None if one.recent is None else tuple(map(RecentTickOut.of, one.recent))
    ties = ScheduleTiesOut(template=_template(one), owner=_owner(one), recent=recent)
    return ExpandedScheduleOut(**dict(shape), expanded=ties)


def _template(one: Related) -> TemplateOut | None:
    return None if one.template is None else TemplateOut.of(one.template)


def _owner(one: Related) -> UserOut | None:
    return None if one.owner is None else UserOut.of(one.owner)
