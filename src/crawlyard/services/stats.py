"""Statistics: jobs, pages and bytes over a range of time, for the dashboard."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from msgspec import Meta

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Permit, Role, day_of
from crawlyard.core.answer import seconds
from crawlyard.core.endpoints.endpoint import Instant, endpoint
from crawlyard.core.jobs.lifecycle import ENDED, State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.stats import (
    CardsOut,
    DayOut,
    PaceOut,
    RunsOut,
    StatsOut,
    StepOut,
    pace_of,
)
from crawlyard.errors import Invalid
from crawlyard.services.jobs.lookup import visible_query
from crawlyard.services.noun import Noun
from crawlyard.store.queries import EVERY_JOB, JobQuery

MOST_STEPS = 1_000
LONGEST = timedelta(days=400)
SHORTEST_STEP = timedelta(minutes=1)
MOST_HOSTS = 10
"""Maximum number of failing hosts in a response."""

MOST_FAILURES = 20_000
"""Maximum number of failures counted to find them, latest first: about 0.1 s."""

MOST_RUNS = 500
"""Maximum number of runs in a response, latest first."""

MOST_COURSES = 300
"""Maximum number of jobs whose courses are summed."""

DEFAULT_SPAN = timedelta(days=1)
HOURLY = timedelta(days=30)
"""The longest range whose default step is an hour; for a longer one it is a day."""

_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)

Since = Annotated[Instant | None, Meta(description="By default a day before.")]
Until = Annotated[Instant | None, Meta(description="Without it; by default now.")]
Step = Annotated[
    Annotated[float, Meta(ge=60, le=86_400 * 31)] | None,
    Meta(description="By default an hour; a day over 30 days."),
]


class Stats(Noun):
    """Counts the jobs that a user sees, and pages and bytes of their own, for admins of all."""

    @endpoint("GET /stats", Permit.JOBS_READ)
    async def get(
        self,
        *,
        since: Since = None,
        until: Until = None,
        step_s: Step = None,
        owner: Annotated[
            Literal["me"] | None, Meta(description="Only your own; by default of all you may see.")
        ] = None,
    ) -> StatsOut:
        """Count jobs now, jobs that ended in each step, pages of each day, and failures by host.

        The first step begins at *since*. Days are UTC days; the first and the last one are
        counted whole. Pages, bytes and errors of days are those of your own jobs, for an admin of
        all.

        Raises:
            Invalid: the range is empty or too long, or has too many steps.
        """
        own = owner is not None
        whose = None if self._actor.role is Role.ADMIN and not own else self._actor.id
        now, store = self._services.clock.now(), self._services.store
        since, until, step, count = _range(since, until or now, step_s)
        query = JobQuery(owner=whose) if own else await self._visible()
        ended = await store.stats.count_ended(query, since, until, step)
        stopped = await store.stats.count_stopped(query, since, until, step)
        used = await store.users.days(whose, day_of(since))
        of_pages = query if own else await self._visible(JobPart.PAGES)
        failing = await store.stats.failing(of_pages, since, until, MOST_FAILURES)
        days = [DayOut.of(day, used.get(day, Usage())) for day in _days(since, until)]
        return StatsOut(
            since=since,
            until=until,
            step_s=seconds(step),
            cards=await self._cards(query, now, ended, days, own=own),
            finished=tuple(
                StepOut(
                    at=since + n * step,
                    ended={str(state): ended.get((n, state), 0) for state in sorted(ENDED)},
                    stopped=stopped.get((n, State.COMPLETED), 0),
                    stopped_by_user=stopped.get((n, State.CANCELLED), 0),
                )
                for n in range(count)
            ),
            days=tuple(days),
            failing_hosts=tuple(failing[:MOST_HOSTS]),
        )

    @endpoint("GET /stats/runs", Permit.JOBS_READ)
    async def runs(
        self,
        *,
        since: Since = None,
        until: Until = None,
    ) -> RunsOut:
        """List the jobs that ran in a range, with their start, end and outcome.

        Covers the jobs that you see; `whole` is false if there are more than 500.

        Raises:
            Invalid: the range is empty or too long.
        """
        since, until, _, _ = _range(since, until or self._services.clock.now(), None)
        query = await self._visible()
        runs = await self._services.store.stats.runs(query, since, until, MOST_RUNS + 1)
        items = tuple(runs[:MOST_RUNS])
        return RunsOut(since=since, until=until, items=items, whole=len(runs) <= MOST_RUNS)

    @endpoint("GET /stats/pace", Permit.JOBS_READ)
    async def pace(
        self,
        *,
        since: Since = None,
        until: Until = None,
        step_s: Step = None,
    ) -> PaceOut:
        """Count the pages fetched in each step, with their response times.

        Summed over the metrics of the jobs that you see (`GET /jobs/{job_id}/metrics`); `whole` is
        false if there are more than 300.

        Raises:
            Invalid: the range is empty or too long, or has too many steps.
        """
        since, until, step, count = _range(since, until or self._services.clock.now(), step_s)
        query = await self._visible()
        courses = await self._services.store.stats.courses(query, since, MOST_COURSES + 1)
        points = (point for course in courses[:MOST_COURSES] for point in course.points)
        return PaceOut(
            since=since,
            until=until,
            step_s=seconds(step),
            steps=tuple(pace_of(points, since, step, count)),
            whole=len(courses) <= MOST_COURSES,
        )

    async def _visible(self, part: JobPart = JobPart.STATE) -> JobQuery:
        return await visible_query(self._services.store, self._actor, EVERY_JOB, part)

    async def _cards(
        self,
        query: JobQuery,
        now: datetime,
        ended: Mapping[tuple[int, State], int],
        days: Sequence[DayOut],
        *,
        own: bool,
    ) -> CardsOut:
        services, today = self._services, day_of(now)
        moment = await services.overview.moment(self._actor, self._permits, own=own)
        states = Counter(dict.fromkeys(map(str, State), 0))
        for (state, _), count in (await services.store.jobs.counts(query)).items():
            states[str(state)] += count
        sums = Counter(dict.fromkeys(map(str, sorted(ENDED)), 0))
        for (_, state), count in ended.items():
            sums[str(state)] += count
        whose = None if self._actor.role is Role.ADMIN and not own else self._actor.id
        used = (await services.store.users.days(whose, today)).get(today, Usage())
        reports = await services.store.workers.find()
        return CardsOut(
            jobs=states,
            workers=sum(map(services.watching.is_alive, reports)),
            ended=sums,
            pages_today=used.pages,
            bytes_today=used.bytes,
            errors_today=used.errors,
            pages=sum(day.pages for day in days),
            bytes=sum(day.bytes for day in days),
            errors=sum(day.errors for day in days),
            slots=moment.slots,
            slots_used=moment.slots_used,
            oldest_wait_s=None if moment.oldest_wait is None else seconds(moment.oldest_wait),
            pages_per_s=round(moment.pages_per_s, 2),
            disk_free_bytes=None if moment.disk is None else moment.disk.free,
            disk_total_bytes=None if moment.disk is None else moment.disk.total,
        )


def _range(
    since: datetime | None, until: datetime, step_s: float | None
) -> tuple[datetime, datetime, timedelta, int]:
    """Return the range, its step, and how many steps it has."""
    if until < _EARLIEST:
        raise Invalid("until", f"expected an instant after {_EARLIEST:%Y-%m-%d}")
    since = since or until - DEFAULT_SPAN
    step = timedelta(hours=1 if until - since <= HOURLY else 24)
    step = step if step_s is None else timedelta(seconds=step_s)
    return since, until, step, _steps(since, until, step)


def _steps(since: datetime, until: datetime, step: timedelta) -> int:
    if since >= until:
        raise Invalid("until", "expected a range that ends after it begins")
    if until - since > LONGEST:
        raise Invalid("since", f"expected a range of at most {LONGEST.days} days")
    if step < SHORTEST_STEP:
        shortest = f"{SHORTEST_STEP.total_seconds():g}"
        raise Invalid("step_s", f"expected at least {shortest}, got {step.total_seconds():g}")
    count = -((since - until) // step)
    if count > MOST_STEPS:
        raise Invalid("step_s", f"expected at most {MOST_STEPS:,} steps, got {count:,}")
    return count


def _days(since: datetime, until: datetime) -> list[date]:
    first, last = day_of(since), day_of(until - timedelta(microseconds=1))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
