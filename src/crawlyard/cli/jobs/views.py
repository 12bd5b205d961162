"""Views of jobs, their pages, errors, events and settings; the columns are part of the API."""

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
    Facts,
    View,
    at,
    count_column,
    fields_of,
    id_of,
    instant,
)
from crawlyard.cli.templates.views import Value, display_value
from crawlyard.core.crawl.page_answers import (
    ErrorGroupOut,
    FateOut,
    LinkOut,
    PageOut,
    SkippedOut,
    WaitingOut,
)
from crawlyard.core.jobs.answers import EventOut, JobOut
from crawlyard.core.jobs.detail_answers import DifferenceOut, ShardOut
from crawlyard.core.jobs.log_answers import LineOut
from crawlyard.core.jobs.waiting import Wait, WaitReason
from crawlyard.core.quantity import count_noun as counted_words
from crawlyard.core.quantity import duration_text
from crawlyard.core.words import ERRORS, error_words, event_reason, format_phrase, rule_words


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


PAGES: View[PageOut] = View(
    key=lambda page: page.url,
    columns=(
        Column(name="STATUS", value=lambda p: p.status, right=True),
        Column(
            name="ERROR",
            value=lambda p: p.error and p.error.kind,
            shown=lambda p: error_words(p.error.kind, p.status) if p.error else "",
        ),
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
        Column(name="RULE", value=lambda s: s.rule, shown=lambda s: rule_words(s.rule)),
        Column(name="DEPTH", value=lambda s: s.depth, right=True),
        Column(name="URL", value=lambda s: s.url, wide=True),
    ),
)


LINKS: View[LinkOut] = View(
    key=lambda link: link.target,
    columns=(
        Column(name="SOURCE", value=lambda k: k.source, wide=True),
        Column(name="TARGET", value=lambda k: k.target, wide=True),
        Column(name="FRAGMENT", value=lambda k: k.fragment, least=120),
        Column(name="KIND", value=lambda k: k.kind, least=140),
        Column(name="REL", value=lambda k: k.rel, least=140),
        Column(name="TEXT", value=lambda k: k.text, wide=True, least=90),
    ),
)


def _referrers(group: ErrorGroupOut) -> str:
    """Return pages that link to the first sample."""
    return ", ".join(group.referrers.get(group.samples[0], ())) if group.samples else ""


def errors_view(now: datetime) -> View[ErrorGroupOut]:
    """Return the view of failed URLs by kind at *now*."""
    return View(
        key=lambda group: group.kind,
        columns=(
            Column(name="KIND", value=lambda g: g.kind, shown=lambda g: ERRORS.get(g.kind, g.kind)),
            count_column("COUNT", lambda g: g.count),
            at("FIRST", "first_at", now),
            at("LAST", "last_at", now),
            Column(name="EXAMPLE", value=lambda g: g.samples[0] if g.samples else "", wide=True),
            Column(name="LINKED FROM", value=_referrers, wide=True, least=90),
        ),
    )


def events_view(now: datetime) -> View[EventOut]:
    """Return the view of a job's events at *now*."""
    return View(
        key=lambda event: str(event.seq),
        columns=(
            at("AT", "at", now),
            Column(name="EVENT", value=lambda e: e.name),
            Column(
                name="REASON",
                value=lambda e: e.data.get("reason", ""),
                shown=lambda e: event_reason(e.data),
            ),
            Column(name="ACTOR", value=lambda e: e.actor, least=100),
            Column(
                name="DETAIL", value=lambda e: with_commands(e.data.get("detail", "")), wide=True
            ),
        ),
    )


LOG: View[LineOut] = View(
    key=lambda line: str(line.n),
    columns=(
        Column(name="AT", value=lambda line: instant(line, "at")),
        Column(name="LEVEL", value=lambda i: i.level),
        Column(name="MESSAGE", value=lambda i: with_commands(i.message), wide=True),
        Column(name="URL", value=lambda i: i.url, wide=True),
    ),
)
FRONTIER: View[WaitingOut] = View(
    key=lambda waiting: waiting.url,
    columns=(
        Column(name="DEPTH", value=lambda w: w.depth, right=True),
        Column(name="VIA", value=lambda w: w.via),
        Column(name="TRIES", value=lambda w: w.tries, right=True),
        Column(name="URL", value=lambda w: w.url, wide=True),
    ),
)
SHARDS: View[ShardOut] = View(
    key=lambda shard: str(shard.number),
    columns=(
        Column(name="SHARD", value=lambda s: s.number, right=True),
        Column(name="WORKER", value=lambda s: s.worker),
        Column(name="PAGES", value=lambda s: s.pages, right=True),
        Column(name="ERRORS", value=lambda s: s.errors, right=True),
        Column(name="FREE SINCE", value=lambda s: instant(s, "free_since")),
        Column(name="UPDATED", value=lambda s: instant(s, "updated_at")),
        Column(name="URL", value=lambda s: s.current_url, wide=True),
    ),
)
CONFIG: View[Value] = View(
    key=lambda setting: setting.field,
    columns=(
        Column(name="FIELD", value=lambda s: s.field),
        Column(name="VALUE", value=lambda s: display_value(s.value), wide=True),
        Column(name="FROM", value=lambda s: s.source),
    ),
)
DIFFERENCES: View[DifferenceOut] = View(
    key=lambda difference: difference.path,
    columns=(
        Column(name="FIELD", value=lambda d: d.path),
        Column(name="TEMPLATE", value=lambda d: display_value(d.template), wide=True),
        Column(name="JOB", value=lambda d: display_value(d.job), wide=True),
    ),
)


def _fate_words(fate: FateOut) -> Facts:
    """Return the fields of a URL's outcome in words."""
    phrases = {
        "outcome": format_phrase(fate.outcome),
        "error": fate.error and error_words(fate.error, fate.status),
        "rule": rule_words(fate.rule),
    }
    return [(name, phrases.get(name, value)) for name, value in fields_of(fate)]


WHY: View[FateOut] = View(
    key=lambda why: why.outcome, columns=(), more=fields_of, more_shown=_fate_words
)
