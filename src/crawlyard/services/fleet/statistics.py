"""Dashboard statistics: current counts, and what was done in a range of time."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.access.quota import day_of
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.jobs.lifecycle import ENDED, State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.overview.stats import DayFigures, Figures, StatsStep
from crawlyard.errors import Invalid
from crawlyard.services.worker.reporting import ALIVE
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store

MOST_STEPS = 1_000
LONGEST = timedelta(days=400)
SHORTEST_STEP = timedelta(minutes=1)
MOST_HOSTS = 10
"""The most failing hosts in a response."""

MOST_FAILURES = 20_000
"""The most failures counted to find them, latest first: about 0.1 s."""

DEFAULT_SPAN = timedelta(days=1)
HOURLY = timedelta(days=30)
"""The longest range whose default step is an hour; for a longer one it is a day."""

_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)


class Statistics:
    """Statistics of all jobs, or their own, for admins; of their own jobs for other users."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def figures(
        self,
        actor: Actor,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        step: timedelta | None = None,
        own: bool = False,
    ) -> Figures:
        """Return the current counts, and what was done in [*since*, *until*).

        The default range is the last day; the default step is an hour, or a day if the
        range is longer than 30 days. The first step begins at *since*. Days are UTC days,
        and the first and the last of them are counted whole. *own*: of the actor alone.

        Raises:
            Invalid: the range is empty or too long, or has too many steps.
        """
        now = self._clock.now()
        until = until or now
        if until < _EARLIEST:
            raise Invalid("until", f"expected an instant after {_EARLIEST:%Y-%m-%d}")
        since = since or until - DEFAULT_SPAN
        step = step or timedelta(hours=1 if until - since <= HOURLY else 24)
        count = _steps(since, until, step)
        owner = None if actor.role is Role.ADMIN and not own else actor.id
        ended = await self._store.inquiries.ended(owner, since, until, step)
        days = await self._store.users.days(owner, day_of(since))
        failing = await self._store.inquiries.failing(owner, since, until, MOST_FAILURES)
        return Figures(
            since=since,
            until=until,
            step=step,
            states=await self._states(owner),
            workers=await self._workers(now),
            ended=_summed(ended),
            today=(await self._store.users.days(owner, day_of(now))).get(day_of(now), Usage()),
            steps=_told(ended, since, step, count),
            failing=tuple(failing[:MOST_HOSTS]),
            days=tuple(
                DayFigures(day=day, usage=days.get(day, Usage())) for day in _days(since, until)
            ),
        )

    async def _states(self, owner: str | None) -> Mapping[State, int]:
        counts = dict.fromkeys(State, 0)
        found = await self._store.jobs.counts(JobQuery(owner=owner))
        for (state, _), count in found.items():
            counts[state] += count
        return counts

    async def _workers(self, now: datetime) -> int:
        reports = await self._store.workers.find()
        return sum(now - report.beat_at <= ALIVE for report in reports)


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


def _told(
    ended: Mapping[tuple[int, State], int], since: datetime, step: timedelta, count: int
) -> tuple[StatsStep, ...]:
    return tuple(
        StatsStep(
            at=since + n * step,
            ended={state: ended.get((n, state), 0) for state in sorted(ENDED)},
        )
        for n in range(count)
    )


def _summed(ended: Mapping[tuple[int, State], int]) -> Mapping[State, int]:
    sums = dict.fromkeys(sorted(ENDED), 0)
    for (_, state), count in ended.items():
        sums[state] = sums.get(state, 0) + count
    return sums


def _days(since: datetime, until: datetime) -> list[date]:
    first, last = day_of(since), day_of(until - timedelta(microseconds=1))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
