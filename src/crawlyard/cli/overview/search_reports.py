"""What commands tell of all jobs together."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from crawlyard.cli.jobs.lookup import job_id_of
from crawlyard.cli.options import Common
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.sheets import listed, nothing
from crawlyard.cli.session import Session
from crawlyard.cli.when import When
from crawlyard.clock import SystemClock
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.fleet.archive import FoundPageOut
from crawlyard.core.answers.fleet.attention import AttentionOut, NoticeOut
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.page_search import words_of
from crawlyard.core.endpoint import every
from crawlyard.services.jobs.terms import ArchiveTerms


class Asked(Struct, frozen=True, kw_only=True):
    """Which pages, as the user said it."""

    words: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    failed: bool | None = None
    kinds: tuple[ErrorKind, ...] = ()
    needs_scripts: bool | None = None
    since: When | None = None
    until: When | None = None

    @property
    def text(self) -> str:
        """Return the words as the API takes them: those of one argument stay together."""
        return " ".join(map(_together, self.words))

    def terms(self, now: datetime, job_ids: Iterable[str]) -> ArchiveTerms:
        """Return the filter of the list of pages, *job_ids* being those of the jobs named."""
        return {
            "job": tuple(job_ids),
            "template": self.templates,
            "failed": self.failed,
            "needs_scripts": self.needs_scripts,
            "kind": tuple(self.kinds),
            "status": tuple(f"{code}xx" if code < 10 else str(code) for code in self.statuses),
            "content_type": self.types,
            "host": self.hosts,
            "since": None if self.since is None else self.since.instant(now),
            "until": None if self.until is None else self.until.instant(now),
        }


def _together(word: str) -> str:
    return f'"{word}"' if " " in word and '"' not in word else word


async def pages(session: Session, asked: Asked, limit: int, common: Common) -> int:
    """List pages of all jobs."""
    words_of(asked.text)  # better to know before anything is read
    now = session.clock.now()
    terms = asked.terms(now, [await job_id_of(session, word) for word in asked.jobs])
    found = every(session.surface.pages.find, asked.text, limit=limit or None, **terms)
    shown = await listed(session, found, _pages_view(now), common)
    if not shown:
        session.tell("no page is like that" if asked != Asked() else "there is no page yet")
    elif shown == limit:
        session.tell(f"the newest {limit:,} are shown; --limit 0 shows all")
    return 0


def no_pages(common: Common) -> int:
    """List the pages of a data directory that does not exist: none."""
    return nothing(common, _pages_view(SystemClock().now()), "there is no page yet")


async def attention(session: Session, common: Common) -> int:
    """List what needs a person."""
    found = await session.surface.attention.get()
    await listed(session, found.items, _notices_view(session.clock.now()), common)
    if not found.items:
        session.tell("nothing needs you")
    for sentence in left_out(found):
        session.tell(sentence)
    return 0


def left_out(found: AttentionOut) -> list[str]:
    """Return a sentence for each kind of which there is more than is listed."""
    told = []
    for kind, number in found.counts.items():
        shown = sum(notice.kind == kind for notice in found.items)
        more = "at least " if kind in found.at_least else ""
        if number > shown:
            told.append(f"{kind}: {shown} of {more}{number:,} are shown")
    return told


def _pages_view(now: datetime) -> View[FoundPageOut]:
    return View(
        key=lambda page: page.url,
        columns=(
            Column(name="STATUS", value=lambda p: p.status, right=True),
            Column(name="ERROR", value=lambda p: p.error and p.error.kind),
            Column(name="JOB", value=lambda p: p.job_id, shown=lambda p: words.short(p.job_id)),
            Column(
                name="FETCHED",
                value=lambda p: as_dict(p, {"fetched_at"})["fetched_at"],
                shown=lambda p: words.clock(p.fetched_at, now),
            ),
            Column(name="URL", value=lambda p: p.url, wide=True),
            Column(name="TITLE", value=lambda p: p.title, wide=True, least=100),
            Column(name="TEXT", value=lambda p: p.excerpt, wide=True, least=140),
        ),
    )


def _notices_view(now: datetime) -> View[NoticeOut]:
    return View(
        key=lambda notice: notice.subject.id if notice.subject else notice.kind,
        columns=(
            Column(name="KIND", value=lambda n: n.kind),
            Column(name="WHAT", value=lambda n: n.subject and (n.subject.name or n.subject.id)),
            Column(
                name="SINCE",
                value=lambda n: as_dict(n, {"since"})["since"],
                shown=lambda n: "" if n.since is None else words.clock(n.since, now),
            ),
            Column(name="DETAIL", value=lambda n: n.detail, wide=True),
            Column(name="HELPS", value=lambda n: n.help and n.help.endpoint, least=120),
        ),
    )
