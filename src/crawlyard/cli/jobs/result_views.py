"""Views of the pages, errors, events and settings of a job; the columns are part of the API."""

from datetime import datetime

from crawlyard.cli.render import words
from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.render.output import (
    Column,
    Facts,
    View,
    at,
    count_column,
    fields_of,
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
from crawlyard.core.jobs.answers import EventOut
from crawlyard.core.jobs.detail_answers import DifferenceOut, ShardOut
from crawlyard.core.jobs.log_answers import LineOut
from crawlyard.core.words import ERRORS, error_words, event_reason, format_phrase, rule_words

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
