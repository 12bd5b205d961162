"""Job log: log lines of a running job, and its course over time."""

from collections import Counter
from datetime import datetime, timedelta

from crawlyard.core.crawl.page import Outcome, TargetState
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.job_log import MAX_MESSAGE, Course, Level, LogLine, Point
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.quantity import count_noun

MOST_PER_BATCH = 50
"""Lines kept per batch, so that a site full of failures does not slow down its crawl."""

_UNREAD = 2_000  # characters of a URL that are logged


def lines_of(batch: Batch, now: datetime) -> tuple[LogLine, ...]:
    """Return the log lines of a batch: at most `MOST_PER_BATCH`, and one about the rest.

    Fetched pages are not logged, as they have a list of their own.
    """
    lines = [_line(now, Level.WARNING, str(note.get("note", ""))) for note in batch.notes]
    unfetched = [each for each in batch.outcomes if each.state is not TargetState.DONE]
    lines += [line for outcome in unfetched if (line := _line_about(outcome, now)) is not None]
    excess = len(lines) - MOST_PER_BATCH
    if excess > 0:
        rest = f"{count_noun(excess, 'more line was', 'more lines were')} left out"
        lines = [*lines[:MOST_PER_BATCH], _line(now, Level.INFO, rest)]
    return tuple(lines)


def point_of(batch: Batch, waiting: int, began: datetime) -> Point:
    """Return the point that a batch adds to a course; *waiting* URLs remain after it."""
    pages = [o.page for o in batch.outcomes if o.page is not None]
    statuses = Counter([page.status // 100 for page in pages if page.status is not None])
    spent = [page.elapsed_ms for page in pages if page.status is not None]
    return Point(
        at=began,
        seconds=batch.usage.duration_s,
        pages=batch.usage.pages,
        bytes=batch.usage.bytes,
        errors=batch.usage.errors,
        statuses={f"{hundred}xx": count for hundred, count in statuses.items()},
        latency_ms=sum(spent) / len(spent) if spent else 0.0,
        waiting=waiting,
    )


class JobLog:
    """Log and course of one job while it runs.

    The log begins with *begun*. The course is written whenever a point is complete.
    """

    def __init__(self, course: Course, begun: str) -> None:
        self._course = course
        self._begun = begun  # empty once it is written

    def lines(self, batch: Batch, now: datetime, ended: str) -> tuple[LogLine, ...]:
        """Return the lines to write with a batch; *ended* is the last one, if not empty."""
        first = (_line(now, Level.INFO, self._begun),) if self._begun else ()
        last = (_line(now, Level.INFO, ended),) if ended else ()
        self._begun = ""
        return (*first, *lines_of(batch, now), *last)

    def follow(self, batch: Batch, usage: Usage, now: datetime) -> Course | None:
        """Add a batch to the course; return the course if it must be written with the batch."""
        span = timedelta(seconds=batch.usage.duration_s)
        if span <= timedelta(0) and not batch.outcomes:
            return self._course if batch.last and self._course.points else None
        point = point_of(batch, usage.waiting, now - span)
        self._course = self._course.grown(point)
        return self._course if batch.last or self._course.at_a_step else None


def _line(now: datetime, level: Level, message: str, url: str = "") -> LogLine:
    return LogLine(at=now, level=level, message=message[:MAX_MESSAGE], url=url[:_UNREAD])


def _line_about(outcome: Outcome, now: datetime) -> LogLine | None:
    target, page = outcome.target, outcome.page
    level, message = Level.INFO, ""
    match outcome.state:
        case TargetState.FAILED if page is not None and page.error is not None:
            level = Level.ERROR if page.status is None else Level.WARNING
            message = f"{page.error.kind}: {page.error.detail}"
        case TargetState.WAITING:
            message = _again(target.tries, target.due_at, now)
        case TargetState.SKIPPED:
            message = f"not fetched, {outcome.rule}"
        case TargetState.REDIRECTED:
            level, message = Level.DEBUG, f"redirected: {outcome.rule}"
        case _:
            return None
    return _line(now, level, message, target.url)


def _again(tries: int, due_at: datetime | None, now: datetime) -> str:
    wait_s = max(0.0, (due_at - now).total_seconds()) if due_at is not None else 0.0
    failed = f"try {tries} failed" if tries else "not answered"
    return f"{failed}, asked again in {wait_s:.0f} s"
