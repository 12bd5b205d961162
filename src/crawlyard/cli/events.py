"""`crawlyard events`: past events, and new ones as they happen."""

import sys
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

from crawlyard.cli import values
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs import lookup
from crawlyard.cli.options import Style, flag, option
from crawlyard.cli.render import output, words
from crawlyard.cli.render.output import Column, View, at, id_of
from crawlyard.cli.stdout import write_line
from crawlyard.cli.when import When
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.words import event_reason
from crawlyard.errors import Invalid, NotFound
from crawlyard.lazy import lazily

# help needs neither feed nor filters: 4 ms
with lazily():
    from crawlyard.services.events import events as feeds
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.events.event import EventName
    from crawlyard.core.jobs.answers import EventOut

_NAME_WIDTH = 18  # of the longest event name, plus one

Follow = Annotated[bool, flag("--follow", "-f", text="Continue with new events, until Ctrl-C.")]
Types = Annotated[
    list[str] | None,
    option(str, "--type", "NAME", "Only this event or pattern, such as job.*. Repeatable."),
]
Since = Annotated[
    When | None,
    option(
        When.of,
        "--since",
        "WHEN",
        "Only events since WHEN: 2h, 7d or 2026-11-24T16:30 (local time).",
    ),
]
Job = Annotated[
    str, option(str, "--job", "ID", "Only events of this job: an id, part of an id, or last.")
]
Limit = Annotated[
    int | None,
    option(
        values.count,
        "--limit",
        "N",
        "Maximum number of events; 0: all; default 50 in a table on a terminal.",
    ),
]


@action(creates=lambda options: options["follow"], empty=True, events="--type")
async def events(
    session: "Session",
    *,
    follow: Follow = False,
    type: Types = None,  # noqa: A002 - the name of the option
    since: Since = None,
    job: Job = "",
    limit: Limit = None,
) -> None:
    """List events, oldest first; with --follow, also new ones as they happen.

    crawlyard events --since 24h --type job.failed
    crawlyard events --follow --type 'job.*' --json
    crawlyard events --follow --job last

    --json writes JSON Lines, one event per line.
    """
    style = _style(session, follow=follow)
    names: frozenset[EventName] = feeds.match_names(type) if type else frozenset()
    terms: dict[str, Any] = {"type": tuple(sorted(names))} if names else {}
    if job:
        terms["subject"] = await _subject(session, job)
    if since is not None:
        terms["since"] = since.instant(session.clock.now())
    if follow:
        await _follow(session, _stream_events(session, terms, names), limit or 0, style)
        return
    most = session.list_limit(limit)
    feed = session.surface.events
    recent = every(feed.list, sort="seq", **terms)
    if most:
        newest = [event async for event in every(feed.list, limit=most, **terms)]
        recent = output.iterate(newest[::-1])
    view = _view(session.clock.now())
    count = await output.write_all(recent, view, style, session.stdout, session.common)
    is_filtered = bool(terms)
    none = "no matching events" if is_filtered else "no events yet"
    session.tell_list_end(count, limit, none, "newest")


def line(event: "EventOut", now: datetime) -> str:
    """Return an event as a line of text, with local time."""
    parts = (
        words.clock(event.at, now),
        event.name.ljust(_NAME_WIDTH),
        words.short(event.subject).ljust(8),
        _details_of(event),
    )
    return words.printable("  ".join(parts).rstrip())


def _details_of(event: "EventOut") -> str:
    """Return the details of an event beside its name."""
    data = event.data
    percent = f"{data['percent']} %" if "percent" in data else ""
    parts = (data.get("name"), percent, event_reason(data), data.get("detail"))
    return " · ".join(str(part) for part in parts if part)


def _reason(event: "EventOut") -> object:
    """Return the reason of an event; for a schedule tick, its outcome first."""
    reason, outcome = event.data.get("reason", ""), event.data.get("outcome")
    return f"{outcome} ({reason})" if outcome else reason


async def _stream_events(
    session: "Session", terms: Mapping[str, Any], names: "frozenset[EventName]"
) -> AsyncIterator["EventOut"]:
    """Yield events as they happen, after those since the requested instant."""
    feed = session.surface.events
    after = None
    if "since" in terms:
        newest = (await feed.list(limit=1)).items
        after = newest[0].seq if newest else 0
        async for event in every(feed.list, sort="seq", **terms):
            yield event
            after = max(after, event.seq)
    async for event in feed.stream(job=terms.get("subject"), after=after):
        if not names or event.name in names:
            yield event


async def _follow(
    session: "Session", events: AsyncIterator["EventOut"], limit: int, style: Style
) -> None:
    """Write each event as soon as it happens."""
    numbered = count(1)
    view, common = _view(session.clock.now()), session.common
    if style is Style.TABLE and common.fields is not None:
        style = Style.PLAIN  # a table would wait for the last event
    async for event in events:
        if style is Style.TABLE and not common.quiet:
            write_line(line(event, session.clock.now()))
        else:
            await output.write_all([event], view, style, session.stdout, common)
        sys.stdout.flush()
        if next(numbered) == limit:
            break


def _style(session: "Session", *, follow: bool) -> Style:
    style = session.style
    if session.common.json:
        return Style.JSONL
    if follow and style in (Style.JSON, Style.CSV):
        expected = "expected jsonl, plain or table with --follow"
        raise Invalid("--output", f"{expected}, as {style} cannot be written incrementally")
    return style


async def _subject(session: "Session", word: str) -> str:
    """Return the id of the job that *word* means; a deleted one needs its whole id."""
    try:
        return await lookup.job_id_of(session, word)
    except NotFound:
        if (await session.surface.events.list(subject=word, limit=1)).items:
            return word
        raise


def _view(now: datetime) -> "View[EventOut]":
    return View(
        key=lambda event: str(event.seq),
        columns=(
            at("AT", "at", now),
            Column(name="EVENT", value=lambda e: e.name),
            id_of(lambda e: e.subject, "SUBJECT"),
            Column(name="NAME", value=lambda e: e.data.get("name", ""), wide=True),
            Column(name="REASON", value=_reason, shown=lambda e: event_reason(e.data)),
            Column(name="ACTOR", value=lambda e: e.actor, least=110),
            Column(name="DETAIL", value=lambda e: e.data.get("detail", ""), wide=True),
        ),
    )
