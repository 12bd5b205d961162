"""Which columns each kind of thing is listed with; their names and order are part of the API."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct

from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.jobs.jobs import EventOut, JobOut
from crawlyard.core.answers.jobs.pages import ErrorGroupOut, PageOut, SkippedOut
from crawlyard.core.jobs.waiting import WaitReason

M = TypeVar("M", bound=Struct)

STATE_STYLES = {
    "running": "cyan",
    "paused": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}


def left(job: JobOut) -> str:
    """Return the time left as a range, or nothing where it is unknown."""
    eta = job.progress.eta
    if eta is None:
        return ""
    return words.span_range(eta.p10_s, eta.p90_s)


def title(job: JobOut) -> str:
    """Return the name of a job, or what it starts from."""
    first = (*job.spec.urls, *job.spec.sitemaps)[0]
    return str(job.spec.name) or first


def _until(job: JobOut) -> str:
    """Return the time left of a job that runs, and the time until it may for one that waits."""
    if job.due_in_s:
        return f"in {words.span(job.due_in_s)}"
    return left(job)


def jobs_view(now: datetime) -> View[JobOut]:
    """Return the view of jobs at *now*."""
    return View(
        key=lambda job: job.id,
        columns=(
            Column(name="STATE", value=lambda j: "damaged" if j.damaged else j.state),
            Column(name="ID", value=lambda j: j.id, shown=lambda j: words.short(j.id)),
            Column(name="NAME", value=title, wide=True),
            _count("DONE", lambda j: j.progress.done),
            _count("FOUND", lambda j: j.progress.discovered),
            _count("FAILED", lambda j: j.progress.failed),
            Column(
                name="RATE",
                value=lambda j: f"{j.progress.rate:.1f}",
                shown=lambda j: words.rate(j.progress.rate) if j.progress.rate else "",
                right=True,
            ),
            Column(
                name="LEFT",
                value=lambda j: j.progress.eta and j.progress.eta.p50_s,
                shown=_until,
                right=True,
            ),
            Column(name="REASON", value=lambda j: j.state_reason, least=110),
            Column(name="PRIORITY", value=lambda j: j.spec.priority, least=90),
            Column(
                name="AGE",
                value=lambda j: _rfc3339(j, "created_at"),
                shown=lambda j: words.ago(j.created_at, now),
                right=True,
                least=100,
            ),
        ),
    )


def queue_view(now: datetime) -> View[JobOut]:
    """Return the view of the queue at *now*."""
    return View(
        key=lambda job: job.id,
        columns=(
            Column(name="PLACE", value=_place, right=True),
            Column(name="PRIORITY", value=lambda j: j.spec.priority),
            Column(name="ID", value=lambda j: j.id, shown=lambda j: words.short(j.id)),
            Column(name="NAME", value=title, wide=True),
            Column(name="WAITS FOR", value=_waits_for, wide=True),
            Column(
                name="QUEUED",
                value=lambda j: _rfc3339(j, "queued_at"),
                shown=lambda j: words.ago(j.queued_at, now),
                right=True,
            ),
            Column(name="OWNER", value=lambda j: j.owner, least=110),
        ),
    )


def _place(job: JobOut) -> int | None:
    return next((wait.position for wait in job.waits_for if wait.position is not None), None)


def _waits_for(job: JobOut) -> str:
    """Return what holds a job back; its place alone says that nothing does."""
    told = [wait.detail for wait in job.waits_for if wait.reason != WaitReason.QUEUE]
    return "; ".join(told)


PAGES: View[PageOut] = View(
    key=lambda page: page.url,
    columns=(
        Column(name="STATUS", value=lambda p: p.status, right=True),
        Column(name="ERROR", value=lambda p: p.error and p.error.kind),
        Column(name="DEPTH", value=lambda p: p.depth, right=True),
        Column(
            name="BYTES", value=lambda p: p.bytes, shown=lambda p: words.amount(p.bytes), right=True
        ),
        Column(
            name="TIME",
            value=lambda p: p.elapsed_ms,
            shown=lambda p: f"{p.elapsed_ms:,} ms",
            right=True,
            least=90,
        ),
        Column(name="URL", value=lambda p: p.url, wide=True),
        Column(name="TITLE", value=lambda p: p.title, wide=True, least=100),
    ),
)

SKIPPED: View[SkippedOut] = View(
    key=lambda skipped: skipped.url,
    columns=(
        Column(name="RULE", value=lambda s: s.rule),
        Column(name="DEPTH", value=lambda s: s.depth, right=True),
        Column(name="URL", value=lambda s: s.url, wide=True),
    ),
)


def errors_view(now: datetime) -> View[ErrorGroupOut]:
    """Return the view of failed URLs by kind at *now*."""
    return View(
        key=lambda group: group.kind,
        columns=(
            Column(name="KIND", value=lambda g: g.kind),
            _count("COUNT", lambda g: g.count),
            _time("FIRST", "first_at", now),
            _time("LAST", "last_at", now),
            Column(name="EXAMPLE", value=lambda g: g.samples[0] if g.samples else "", wide=True),
        ),
    )


def events_view(now: datetime) -> View[EventOut]:
    """Return the view of a job's events at *now*."""
    return View(
        key=lambda event: str(event.seq),
        columns=(
            _time("AT", "at", now),
            Column(name="EVENT", value=lambda e: e.name),
            Column(name="REASON", value=lambda e: e.data.get("reason", "")),
            Column(name="ACTOR", value=lambda e: e.actor, least=100),
            Column(name="DETAIL", value=lambda e: e.data.get("detail", ""), wide=True),
        ),
    )


def _count(name: str, value: Callable[[M], int]) -> Column[M]:
    return Column(name=name, value=value, shown=lambda i: words.number(value(i)), right=True)


def _time(name: str, field: str, now: datetime) -> Column[Any]:
    return Column(
        name=name,
        value=lambda item: _rfc3339(item, field),
        shown=lambda item: words.clock(getattr(item, field), now),
    )


def _rfc3339(item: Struct, field: str) -> str:
    """Return an instant as the API writes it."""
    return str(as_dict(item, {field})[field])
