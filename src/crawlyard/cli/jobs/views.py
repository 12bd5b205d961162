"""Views of jobs and of their queue; the columns are part of the API."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from crawlyard.cli.render import words
from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.render.job_display import (
    limits_words,
    numbers,
    outlook,
    reason_words,
    state_word,
    state_words,
    time_left,
    title,
)
from crawlyard.cli.render.output import (
    Column,
    View,
    count_column,
    id_of,
    instant,
)
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.waiting import Wait, WaitReason
from crawlyard.core.quantity import count_noun as counted_words
from crawlyard.core.quantity import duration_text


def _until(job: JobOut) -> str:
    """Return the time left of a running job, or the time until a waiting one may start."""
    if job.due_in_s:
        return f"in {words.span(job.due_in_s)}"
    return time_left(job)


def jobs_view(now: datetime, template: str = "") -> View[JobOut]:
    """Return the view of jobs at *now*; *template* is that of a single job."""
    return View(
        key=lambda job: job.id,
        table=(
            *("STATE", "ID", "NAME", "DONE", "FOUND", "FAILED", "RATE", "LEFT", "REASON"),
            *("PRIORITY", "AGE"),
        ),
        columns=(
            id_of(lambda j: j.id),
            Column(name="NAME", value=title, fact=lambda j: j.spec.name, wide=True),
            Column(
                name="STATE",
                value=lambda j: "damaged" if j.damaged else j.state,
                shown=lambda j: "damaged" if j.damaged else state_word(j),
                fact=lambda j: "damaged" if j.damaged else state_words(j),
            ),
            *_progress(),
            *_settings(),
            Column(
                name="AGE",
                value=lambda j: instant(j, "created_at"),
                shown=lambda j: words.ago(j.created_at, now),
                right=True,
                least=100,
                sheet=False,
            ),
            Column(name="WORKER", value=lambda j: j.worker),
            Column(name="WORKERS", value=lambda j: j.workers or None if j.worker is None else None),
            Column(name="RETRY OF", value=lambda j: j.retry_of),
            Column(name="GROUP", value=lambda j: j.origin.group_id),
            Column(name="TEMPLATE", value=lambda _: template),
            Column(name="CREATED AT", value=lambda j: instant(j, "created_at")),
            Column(name="DUE AT", value=lambda j: instant(j, "due_at")),
            Column(name="STARTED AT", value=lambda j: instant(j, "started_at")),
            Column(name="ENDED AT", value=lambda j: instant(j, "ended_at")),
            Column(name="UPDATED AT", value=lambda j: instant(j, "updated_at")),
        ),
    )


def _progress() -> tuple[Column[JobOut], ...]:
    """Return the columns about progress and results."""
    return (
        Column(name="DETAIL", value=lambda j: with_commands(j.detail)),
        Column(
            name="WAITS FOR",
            value=lambda j: "" if j.damaged else _waits(j.waits_for),
        ),
        Column(
            name="URLS",
            value=lambda j: (
                ", ".join(j.spec.urls[:3])
                + (f" … ({len(j.spec.urls):,})" if j.spec.urls[3:] else "")
            ),
        ),
        Column(name="SITEMAPS", value=lambda j: ", ".join(j.spec.sitemaps)),
        count_column("DONE", lambda j: j.progress.done, sheet=False),
        count_column("FOUND", lambda j: j.progress.discovered, sheet=False),
        count_column("FAILED", lambda j: j.progress.failed, sheet=False),
        Column(
            name="RATE",
            value=lambda j: f"{j.progress.rate:.1f}",
            shown=lambda j: words.rate(j.progress.rate) if j.progress.rate else "",
            right=True,
            sheet=False,
        ),
        Column(
            name="LEFT",
            value=lambda j: j.progress.eta and j.progress.eta.p50_s,
            shown=_until,
            right=True,
            sheet=False,
        ),
        Column(
            name="REASON",
            value=lambda j: j.state_reason,
            shown=reason_words,
            least=110,
            sheet=False,
        ),
        Column(name="PROGRESS", value=lambda j: " · ".join(numbers(j))),
        Column(
            name="OUTLOOK",
            value=lambda j: " · ".join(outlook(j)) if j.state == "running" or j.due_in_s else "",
        ),
        Column(name="CURRENT URL", value=lambda j: j.current_url),
        Column(name="LIMITS", value=lambda j: limits_words(j.spec.limits)),
        Column(name="SKIPPED", value=lambda j: f"{j.usage.skipped:,}" if j.usage.skipped else ""),
        Column(
            name="REDIRECTS", value=lambda j: f"{j.usage.redirects:,}" if j.usage.redirects else ""
        ),
        Column(
            name="NEED SCRIPTS",
            value=lambda j: counted_words(n, "page") if (n := j.usage.needs_scripts) else "",
        ),
        Column(name="RENDERED", value=_rendering_words),
        Column(name="UNCHANGED", value=_unchanged_words),
    )


def _rendering_words(job: JobOut) -> str:
    usage = job.usage
    if not (usage.rendered or usage.render_took_s):
        return ""
    took = f"{words.span(usage.render_s)} of CPU"
    subrequests = counted_words(usage.subrequests, "request")
    return f"{counted_words(usage.rendered, 'page')}, {took}, {subrequests} of their own"


def _unchanged_words(job: JobOut) -> str:
    usage = job.usage
    if not usage.unchanged:
        return ""
    savings = f"{counted_words(usage.unchanged, 'page')}, {words.amount(usage.bytes_saved)}"
    unasked = (
        f", {words.number(usage.requests_saved)} not requested" if usage.requests_saved else ""
    )
    return f"{savings} not downloaded again{unasked}"


def _settings() -> tuple[Column[JobOut], ...]:
    """Return the columns about the spec of a job."""
    return (
        Column(name="SCOPE", value=lambda j: j.spec.scope),
        Column(name="INCLUDE", value=lambda j: ", ".join(j.spec.include)),
        Column(name="EXCLUDE", value=lambda j: ", ".join(j.spec.exclude)),
        Column(
            name="PACE",
            value=lambda j: (
                f"delay {duration_text(timedelta(seconds=j.spec.delay_s))}, "
                f"{j.spec.per_host} at once per host, {j.spec.concurrency} in total"
            ),
        ),
        Column(name="PROXIES", value=_proxies),
        Column(name="PRIORITY", value=lambda j: j.spec.priority, least=90),
        Column(name="TAGS", value=lambda j: ", ".join(j.spec.tags)),
        Column(name="SINCE", value=lambda j: j.spec.since or ""),
    )


def _proxies(job: JobOut) -> str:
    """Return the proxies of a job, and the results of each once it was used."""
    lines = (
        f"{use.proxy} ({counted_words(use.connections, 'connection')}, "
        f"{counted_words(use.failures, 'failure')}"
        + (f", rests for {use.rests_s:.0f} s)" if use.rests_s and not job.ended_at else ")")
        for use in job.progress.proxies
    )
    return ", ".join(lines if job.progress.proxies else job.spec.proxies)


def queue_view(now: datetime) -> View[JobOut]:
    """Return the columns of `jobs queue`; waits are relative to *now*."""
    return View(
        key=lambda job: job.id,
        columns=(
            Column(name="PLACE", value=_place, right=True),
            Column(name="PRIORITY", value=lambda j: j.spec.priority),
            id_of(lambda j: j.id),
            Column(name="NAME", value=title, wide=True),
            Column(name="WAITS FOR", value=_waits_for, wide=True),
            Column(
                name="QUEUED",
                value=lambda j: instant(j, "queued_at"),
                shown=lambda j: words.ago(j.queued_at, now),
                right=True,
            ),
            Column(name="OWNER", value=lambda j: j.owner, least=110),
        ),
    )


def _place(job: JobOut) -> int | None:
    return next((wait.position for wait in job.waits_for if wait.position is not None), None)


def _waits(waits: Iterable[Wait]) -> str:
    return "; ".join(with_commands(wait.detail) for wait in waits)


def _waits_for(job: JobOut) -> str:
    """Return what holds a job back; empty if only its position in the queue does."""
    return _waits(w for w in job.waits_for if w.reason != WaitReason.QUEUE)
