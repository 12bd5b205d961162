"""What `crawlyard crawl` can be told of a job, in the groups that its help shows.

An option that was not given is ``None`` or empty: where a template is used, it must not
be taken for a wish. What the template asks for is taken away by ``--no-…``, or by "none"
for a limit or a list.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum, auto
from typing import Annotated, Any

from msgspec import Struct

from crawlyard.cli import values
from crawlyard.cli.options import choice, flag, option
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.spec import FOREVER_S, JobSpec, Scope, Strategy, TextMode
from crawlyard.core.jobs.spec_json import ENDLESS
from crawlyard.errors import Invalid
from crawlyard.export.base import Format

LIMITS, PACE, REACH, ACCESS, PAGES, JOB = "Limits", "Pace", "Reach", "Access", "Pages", "Job"
_UNSET = JobSpec(urls=("http://localhost/",))  # what a job has where nothing is asked
_DELAY = values.duration_text(timedelta(seconds=_UNSET.delay_s))
_RETRY_WAIT = values.duration_text(timedelta(seconds=_UNSET.retry.first_s))
_TIMEOUT = values.duration_text(timedelta(seconds=_UNSET.timeout_s))
_MAX_BODY = values.size_text(_UNSET.max_body)


class Keep(StrEnum):
    """What of a page can be kept beside its record and its text."""

    HTML = auto()
    NONE = auto()


class Bounds(Struct, frozen=True, kw_only=True):
    """How far a crawl may go, and how often it is tried while its site is out of reach."""

    max_pages: Annotated[
        values.Ceiling | None,
        option(
            values.ceiling(values.count), "--max-pages", "N", "End with exactly N pages.", LIMITS
        ),
    ] = None
    max_duration: Annotated[
        values.Ceiling | None,
        option(
            values.ceiling(values.span_s),
            "--max-duration",
            "TIME",
            "End after TIME: 90s, 2h.",
            LIMITS,
        ),
    ] = None
    max_bytes: Annotated[
        values.Ceiling | None,
        option(
            values.ceiling(values.size),
            "--max-bytes",
            "SIZE",
            "End after SIZE of bodies: 500MB.",
            LIMITS,
        ),
    ] = None
    max_errors: Annotated[
        values.Ceiling | None,
        option(
            values.ceiling(values.count), "--max-errors", "N", "End after N failed URLs.", LIMITS
        ),
    ] = None
    attempts: Annotated[
        int | None,
        option(
            values.count,
            "--attempts",
            "N",
            f"If no start URL answers; else {_UNSET.retry.attempts}.",
            LIMITS,
        ),
    ] = None
    retry_wait: Annotated[
        float | None,
        option(
            values.span_s,
            "--retry-wait",
            "TIME",
            f"Before the second attempt, then longer; else {_RETRY_WAIT}.",
            LIMITS,
        ),
    ] = None


class Reach(Struct, frozen=True, kw_only=True):
    """Which URLs belong to a crawl, and in which order they are asked for."""

    scope: Annotated[
        Scope | None,
        choice("--scope", of=Scope, text="Which URLs belong", panel=REACH, default=_UNSET.scope),
    ] = None
    max_depth: Annotated[
        values.Ceiling | None,
        option(
            values.ceiling(values.count),
            "--max-depth",
            "N",
            "Links from a start URL at most.",
            REACH,
        ),
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
        Strategy | None,
        choice(
            "--strategy", of=Strategy, text="In which order", panel=REACH, default=_UNSET.strategy
        ),
    ] = None
    follow_nofollow: Annotated[
        bool | None,
        flag(
            "--follow-nofollow/--no-follow-nofollow",
            text="Follow nofollow links as well.",
            panel=REACH,
        ),
    ] = None


class Pace(Struct, frozen=True, kw_only=True):
    """How hard a crawl asks."""

    delay: Annotated[
        float | None,
        option(
            values.span_s, "--delay", "TIME", f"Between requests to a host; else {_DELAY}.", PACE
        ),
    ] = None
    per_host: Annotated[
        int | None,
        option(
            values.count,
            "--per-host",
            "N",
            f"Requests at once to a host; else {_UNSET.per_host}.",
            PACE,
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        option(
            values.count,
            "--concurrency",
            "N",
            f"Requests at once, all told; else {_UNSET.concurrency}.",
            PACE,
        ),
    ] = None
    timeout: Annotated[
        float | None,
        option(values.span_s, "--timeout", "TIME", f"For a whole request; else {_TIMEOUT}.", PACE),
    ] = None
    max_body: Annotated[
        int | None,
        option(values.size, "--max-body", "SIZE", f"Of one body at most; else {_MAX_BODY}.", PACE),
    ] = None


class Access(Struct, frozen=True, kw_only=True):
    """What a crawl sends along, and what it may connect to."""

    ignore_robots: Annotated[
        bool | None,
        flag("--ignore-robots/--no-ignore-robots", text="Do not ask robots.txt.", panel=ACCESS),
    ] = None
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
        bool | None,
        flag(
            "--allow-private/--no-allow-private", text="Open all private addresses.", panel=ACCESS
        ),
    ] = None
    user_agent: Annotated[
        str | None, option(values.line, "--user-agent", "TEXT", "Who asks.", ACCESS)
    ] = None
    header: Annotated[
        list[values.Pair] | None,
        option(
            values.or_none(values.header),
            "--header",
            "'N: V'",
            "Send this header. Repeatable.",
            ACCESS,
        ),
    ] = None


class Kept(Struct, frozen=True, kw_only=True):
    """What is kept of each page."""

    text: Annotated[
        TextMode | None,
        choice("--text", of=TextMode, text="What text is kept", panel=PAGES, default=_UNSET.text),
    ] = None
    extract: Annotated[
        list[values.Pair] | None,
        option(
            values.or_none(values.pair),
            "--extract",
            "N=CSS",
            "Keep what CSS or CSS@attr finds.",
            PAGES,
        ),
    ] = None
    keep: Annotated[
        Keep | None, choice("--keep", of=Keep, text="Keep bodies and headers too", panel=PAGES)
    ] = None
    store_noindex: Annotated[
        bool | None,
        flag(
            "--store-noindex/--no-store-noindex",
            text="Keep text of noindex pages too.",
            panel=PAGES,
        ),
    ] = None


class Output(Struct, frozen=True, kw_only=True):
    """Where the pages go when the job ends."""

    out: Annotated[
        str, option(str, "--out", "FILE", "Export when the job ends; '-' is stdout.", PAGES)
    ] = ""
    format: Annotated[
        Format | None,
        choice("--format", of=Format, text="Of --out, else by its suffix", panel=PAGES),
    ] = None


class About(Struct, frozen=True, kw_only=True):
    """How a job is found again, and when its turn is."""

    name: Annotated[
        str | None, option(values.line, "--name", "TEXT", "A name for the job.", JOB)
    ] = None
    tag: Annotated[
        list[str] | None, option(values.line, "--tag", "TEXT", "A tag. Repeatable.", JOB)
    ] = None
    priority: Annotated[
        Priority | None,
        option(Priority.of, "--priority", "WORD", "urgent, high, normal or low.", JOB),
    ] = None
    worker_tag: Annotated[
        list[str] | None,
        option(values.line, "--worker-tag", "TAG", "Only a worker with it. Repeatable.", JOB),
    ] = None
    spread: Annotated[
        str | None,
        option(values.spread_word, "--spread", "N", "Over N workers at once, or auto.", JOB),
    ] = None
    retention: Annotated[
        float | None,
        option(values.retention, "--retention", "TIME", "Keep the ended job: 90d, forever.", JOB),
    ] = None
    webhook: Annotated[
        list[str] | None,
        option(values.line, "--webhook", "URL", "Tell this URL how it ends. Repeatable.", JOB),
    ] = None


Group = Bounds | Reach | Pace | Access | Kept | About

_PATHS: Mapping[str, str] = {
    # option: field of the form, where it is called otherwise
    "max_pages": "limits.pages",
    "max_duration": "limits.duration_s",
    "max_bytes": "limits.bytes",
    "max_errors": "limits.errors",
    "attempts": "retry.attempts",
    "retry_wait": "retry.first_s",
    "sitemap": "sitemaps",
    "delay": "delay_s",
    "timeout": "timeout_s",
    "allow_address": "allow_addresses",
    "header": "headers",
    "tag": "tags",
    "worker_tag": "worker_tags",
    "keep": "keep_html",
    "retention": "retention_s",
    "webhook": "webhooks",
}


def form_of(urls: Sequence[str], *groups: Group) -> dict[str, object]:
    """Return the form of a spec with what was given, and nothing else: `core.form` reads it."""
    form: dict[str, Any] = {"urls": list(urls)} if urls else {}
    for group in groups:
        for option_ in group.__struct_fields__:
            value = getattr(group, option_)
            if value is None or value == []:
                continue
            inside, _, name = _PATHS.get(option_, option_).rpartition(".")
            place = form.setdefault(inside, {}) if inside else form
            place[name] = _json(value.value if isinstance(value, values.Ceiling) else value)
    return form


_OPTIONS: Mapping[str, str] = {"urls": "URL"} | {
    _PATHS.get(name, name).removesuffix("_s"): f"--{name.replace('_', '-')}"
    for group in (Bounds, Reach, Pace, Access, Kept, About)
    for name in group.__struct_fields__
}


def option_of_field(path: str) -> str:
    """Return the option that sets the field *path* of the form, else *path* itself.

    A place within a list or an object belongs to the option of the whole.
    """
    whole = path
    while whole:
        option_ = _OPTIONS.get(whole.removesuffix("_s"))
        if option_ is not None:
            return option_
        whole = whole.rpartition(".")[0]
    return path


@contextmanager
def options_named(own: Collection[str] = ()) -> Iterator[None]:
    """Let errors about fields of a spec name the options that set them, except fields in *own*."""
    try:
        yield
    except Invalid as error:
        named = error.field
        if named not in own:
            named = option_of_field(named.removeprefix("overrides."))  # of a schedule, over HTTP
        raise Invalid(named, error.message, error.position) from None


def _json(value: object) -> object:
    if isinstance(value, Keep):
        return value is Keep.HTML
    if value == FOREVER_S:
        return ENDLESS
    if isinstance(value, (StrEnum, Priority)):
        return str(value)
    if isinstance(value, list):
        if value in ([values.NONE], [values.NO_PAIR]):
            value = []
        return [list(item) if isinstance(item, values.Pair) else item for item in value]
    return value
