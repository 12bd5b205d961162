"""What `crawlyard crawl` can be told, in the groups that its help shows."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto
from typing import Annotated

from crawlyard.cli import values
from crawlyard.cli.options import choice, flag, option
from crawlyard.core.limits import Limits
from crawlyard.core.priority import Priority
from crawlyard.core.spec import JobSpec, Scope, Strategy, TextMode
from crawlyard.export.base import Format

LIMITS, PACE, REACH, ACCESS, PAGES, JOB = "Limits", "Pace", "Reach", "Access", "Pages", "Job"
_UNSET = JobSpec(urls=("http://localhost/",))  # what a job has where nothing is asked
_DELAY = values.duration_text(_UNSET.delay)
_TIMEOUT = values.duration_text(_UNSET.timeout)
_MAX_BODY = values.size_text(_UNSET.max_body)


class Keep(StrEnum):
    """What of a page can be kept beside its record and its text."""

    HTML = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a crawl may go."""

    max_pages: Annotated[
        int | None,
        option(values.count, "--max-pages", "N", "End with exactly N pages.", LIMITS),
    ] = None
    max_duration: Annotated[
        timedelta | None,
        option(values.duration, "--max-duration", "TIME", "End after TIME: 90s, 2h.", LIMITS),
    ] = None
    max_bytes: Annotated[
        int | None,
        option(values.size, "--max-bytes", "SIZE", "End after SIZE of bodies: 500MB.", LIMITS),
    ] = None
    max_errors: Annotated[
        int | None,
        option(values.count, "--max-errors", "N", "End after N failed URLs.", LIMITS),
    ] = None

    def limits(self) -> Limits:
        """Return them as the ceilings of a job."""
        return Limits(
            pages=self.max_pages,
            bytes=self.max_bytes,
            duration=self.max_duration,
            errors=self.max_errors,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which URLs belong to a crawl, and in which order they are asked for."""

    scope: Annotated[
        Scope,
        choice("--scope", of=Scope, text="Which URLs belong", panel=REACH, default=_UNSET.scope),
    ] = _UNSET.scope
    max_depth: Annotated[
        int | None,
        option(values.count, "--max-depth", "N", "Links from a start URL at most.", REACH),
    ] = None
    include: Annotated[
        list[str] | None,
        option(str, "--include", "GLOB", "Only URLs like this; re:… too. Repeatable.", REACH),
    ] = None
    exclude: Annotated[
        list[str] | None,
        option(str, "--exclude", "GLOB", "No URL like this; re:… too. Repeatable.", REACH),
    ] = None
    sitemap: Annotated[
        list[str] | None,
        option(str, "--sitemap", "URL", "Start from a sitemap, or 'robots' for its own.", REACH),
    ] = None
    strategy: Annotated[
        Strategy,
        choice(
            "--strategy", of=Strategy, text="In which order", panel=REACH, default=_UNSET.strategy
        ),
    ] = _UNSET.strategy
    follow_nofollow: Annotated[
        bool, flag("--follow-nofollow", text="Follow nofollow links as well.", panel=REACH)
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How hard a crawl asks."""

    delay: Annotated[
        timedelta,
        option(
            values.duration, "--delay", "TIME", f"Between requests to a host; else {_DELAY}.", PACE
        ),
    ] = _UNSET.delay
    per_host: Annotated[
        int,
        option(
            values.count,
            "--per-host",
            "N",
            f"Requests at once to a host; else {_UNSET.per_host}.",
            PACE,
        ),
    ] = _UNSET.per_host
    concurrency: Annotated[
        int,
        option(
            values.count,
            "--concurrency",
            "N",
            f"Requests at once, all told; else {_UNSET.concurrency}.",
            PACE,
        ),
    ] = _UNSET.concurrency
    timeout: Annotated[
        timedelta,
        option(
            values.duration, "--timeout", "TIME", f"For a whole request; else {_TIMEOUT}.", PACE
        ),
    ] = _UNSET.timeout
    max_body: Annotated[
        int,
        option(values.size, "--max-body", "SIZE", f"Of one body at most; else {_MAX_BODY}.", PACE),
    ] = _UNSET.max_body


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a crawl sends along, and what it may connect to."""

    ignore_robots: Annotated[
        bool, flag("--ignore-robots", text="Do not ask robots.txt.", panel=ACCESS)
    ] = False
    allow_address: Annotated[
        list[str] | None,
        option(
            str,
            "--allow-address",
            "ADDR",
            "Open a private host, CIDR or either:PORT. Repeatable.",
            ACCESS,
        ),
    ] = None
    allow_private: Annotated[
        bool, flag("--allow-private", text="Open all private addresses.", panel=ACCESS)
    ] = False
    user_agent: Annotated[
        str | None, option(values.line, "--user-agent", "TEXT", "Who asks.", ACCESS)
    ] = None
    header: Annotated[
        list[values.Pair] | None,
        option(values.header, "--header", "'N: V'", "Send this header. Repeatable.", ACCESS),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of each page."""

    text: Annotated[
        TextMode,
        choice("--text", of=TextMode, text="What text is kept", panel=PAGES, default=_UNSET.text),
    ] = _UNSET.text
    extract: Annotated[
        list[values.Pair] | None,
        option(values.pair, "--extract", "N=CSS", "Keep what CSS or CSS@attr finds.", PAGES),
    ] = None
    keep: Annotated[
        Keep | None, choice("--keep", of=Keep, text="Keep bodies and headers too", panel=PAGES)
    ] = None
    store_noindex: Annotated[
        bool, flag("--store-noindex", text="Keep text of noindex pages too.", panel=PAGES)
    ] = False
    out: Annotated[
        str, option(str, "--out", "FILE", "Export when the job ends; '-' is stdout.", PAGES)
    ] = ""
    format: Annotated[
        Format | None,
        choice("--format", of=Format, text="Of --out, else by its suffix", panel=PAGES),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """How a job is found again, and when its turn is."""

    name: Annotated[
        str | None, option(values.line, "--name", "TEXT", "A name for the job.", JOB)
    ] = None
    tag: Annotated[
        list[str] | None, option(values.line, "--tag", "TEXT", "A tag. Repeatable.", JOB)
    ] = None
    priority: Annotated[
        Priority,
        option(Priority.of, "--priority", "WORD", "urgent, high, normal or low.", JOB),
    ] = _UNSET.priority
