"""What `crawlyard events` tells."""

import sys
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from itertools import count
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.cli.jobs.lookup import job_id_of
from crawlyard.cli.options import Common, Style
from crawlyard.cli.render import output, words
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.sheets import nothing
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.cli.when import When
from crawlyard.clock import SystemClock
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.jobs.jobs import EventOut
from crawlyard.core.endpoint import every
from crawlyard.core.event import EventName
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.fleet.events import named

_SHOWN = 50
_NAME_WIDTH = 18  # of the longest name of an event, and one more


class Asked(Struct, frozen=True, kw_only=True):
    """Which events, as the user said it."""

    patterns: tuple[str, ...] = ()
    since: When | None = None
    job: str = ""
    limit: int | None = None
    follow: bool = False


async def events(session: Session, asked: Asked, common: Common) -> int:
    """List events, or follow them."""
    style = _style(asked, common, terminal=session.out.is_terminal)
    names = _names(asked)
    terms: dict[str, Any] = {"type": tuple(sorted(names))} if names else {}
    if asked.job:
        terms["subject"] = await _subject(session, asked.job)
    if asked.since is not None:
        terms["since"] = asked.since.instant(session.clock.now())
    if asked.follow:
        followed = _followed(session, terms, names)
        return await _follow(session, followed, asked.limit or 0, style, common)
    limit = _SHOWN if asked.limit is None else asked.limit
    feed = session.surface.events
    found = every(feed.list, sort="seq", **terms)
    if limit:
        newest = [event async for event in every(feed.list, limit=limit, **terms)]
        found = output.each(newest[::-1])
    view = _view(session.clock.now())
    shown = await output.write_all(
        found, view, style, session.out, quiet=common.quiet, fields=common.fields
    )
    if not shown:
        session.tell("nothing like that has happened")
    elif shown == limit:
        session.tell(f"the newest {limit:,} are shown; --limit 0 shows all")
    return 0


def none(asked: Asked, common: Common) -> int:
    """List the events of a data directory that does not exist: none."""
    _style(asked, common, terminal=sys.stdout.isatty())
    _names(asked)
    if common.json:
        common = replace(common, json=False, style=Style.JSONL)
    return nothing(common, _view(SystemClock().now()), "nothing has happened yet")


def line(event: EventOut, now: datetime) -> str:
    """Return an event in one line for people."""
    parts = (
        words.clock(event.at, now),
        event.name.ljust(_NAME_WIDTH),
        words.short(event.subject).ljust(8),
        _told(event),
    )
    return words.printable("  ".join(parts).rstrip())


def _told(event: EventOut) -> str:
    """Return what is worth knowing of an event beside its name."""
    data = event.data
    percent = f"{data['percent']} %" if "percent" in data else ""
    parts = (data.get("name"), percent, _reason(event), data.get("detail"))
    return " · ".join(str(part) for part in parts if part)


def _reason(event: EventOut) -> object:
    """Return why something is as it is; of a tick, what became of it first."""
    reason, outcome = event.data.get("reason", ""), event.data.get("outcome")
    return f"{outcome} ({reason})" if outcome else reason


async def _followed(
    session: Session, terms: Mapping[str, Any], names: frozenset[EventName]
) -> AsyncIterator[EventOut]:
    """Yield events as they happen; those that happened since an instant come first."""
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
    session: Session, events: AsyncIterator[EventOut], limit: int, style: Style, common: Common
) -> int:
    """Write events as they happen, each at once."""
    numbered = count(1)
    view, quiet, fields = _view(session.clock.now()), common.quiet, common.fields
    if style is Style.TABLE and fields is not None:
        style = Style.PLAIN  # a table would wait for the last
    async for event in events:
        if style is Style.TABLE and not quiet:
            write_line(line(event, session.clock.now()))
        else:
            one = output.each([event])
            await output.write_all(one, view, style, session.out, quiet=quiet, fields=fields)
        sys.stdout.flush()
        if next(numbered) == limit:
            break
    return 0


def _style(asked: Asked, common: Common, *, terminal: bool) -> Style:
    style = common.style_on(terminal=terminal)
    if common.json:
        return Style.JSONL
    if asked.follow and style in (Style.JSON, Style.CSV):
        expected = "expected jsonl, plain or table with --follow"
        raise Invalid("--output", f"{expected}: {style} is written as a whole")
    return style


def _names(asked: Asked) -> frozenset[EventName]:
    """Return what was asked for by name; nothing asks for all."""
    return named(asked.patterns) if asked.patterns else frozenset()


async def _subject(session: Session, word: str) -> str:
    """Return the id of the job that *word* means; a deleted one goes by its whole id."""
    try:
        return await job_id_of(session, word)
    except NotFound:
        if (await session.surface.events.list(subject=word, limit=1)).items:
            return word
        raise


def _view(now: datetime) -> View[EventOut]:
    return View(
        key=lambda event: str(event.seq),
        columns=(
            Column(
                name="AT",
                value=lambda e: as_dict(e, {"at"})["at"],
                shown=lambda e: words.clock(e.at, now),
            ),
            Column(name="EVENT", value=lambda e: e.name),
            Column(
                name="SUBJECT", value=lambda e: e.subject, shown=lambda e: words.short(e.subject)
            ),
            Column(name="NAME", value=lambda e: e.data.get("name", ""), wide=True),
            Column(name="REASON", value=_reason),
            Column(name="ACTOR", value=lambda e: e.actor, least=110),
            Column(name="DETAIL", value=lambda e: e.data.get("detail", ""), wide=True),
        ),
    )
