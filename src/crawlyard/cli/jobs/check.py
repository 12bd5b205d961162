"""`crawlyard check`: crawls a site and reports its broken links."""

from collections.abc import Iterator, Sequence
from enum import StrEnum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Struct

from crawlyard.cli import values
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs.crawl_options import CheckOptions, Urls, form_of
from crawlyard.cli.options import choice, flag, option
from crawlyard.cli.render.output import Column, View
from crawlyard.core.endpoint import every
from crawlyard.core.quantity import counted
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

with lazily():
    from crawlyard.cli.jobs import junit as junit_file
    from crawlyard.cli.jobs import run_and_watch
    from crawlyard.export import files
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.answers.jobs.checks import CheckOut, FindingOut
    from crawlyard.core.answers.jobs.jobs import JobOut

FOUND = 13
"""Exit code of a check that found something to fail on."""

TAG = "check"
"""Tag of the jobs that this command makes."""

_MOST_EXTERNALS = 1_000
_MOST_CHECKS = 200  # looked at to find the one before

_CHECKS = {"text": "none", "store_noindex": True, "keep_anchors": True}
"""What a check asks for, whatever its options: links and ids of all pages, and no text."""

_WORDS = {
    "broken_link": ("broken link", "broken links"),
    "missing_fragment": ("missing fragment", "missing fragments"),
    "redirect_chain": ("redirect chain", "redirect chains"),
    "duplicate_title": ("duplicate title", "duplicate titles"),
    "canonical": ("contradicting canonical", "contradicting canonicals"),
}


class FailOn(StrEnum):
    """Which findings make the exit code `FOUND`."""

    ANY = auto()
    NEW = auto()  # not found by the last check of the same start URLs
    NONE = auto()


Fails = Annotated[
    FailOn, choice("--fail-on", of=FailOn, text="Exit with 13 on such findings", default=FailOn.ANY)
]
Externals = Annotated[
    bool, flag("--externals", text="Check links to other sites too, without following them.")
]
MaxExternals = Annotated[
    int | None,
    option(
        values.count, "--max-externals", "N", f"So many of them at most; else {_MOST_EXTERNALS:,}."
    ),
]
JUnit = Annotated[str, option(str, "--junit", "FILE", "Write the findings as JUnit XML as well.")]


@action(creates=True)
async def check(
    session: "Session",
    urls: Urls = None,
    *,
    fail_on: Fails = FailOn.ANY,
    junit: JUnit = "",
    externals: Externals = False,
    max_externals: MaxExternals = None,
    asked: CheckOptions,
) -> int:
    """Crawl a site and report broken links, with all pages that link to them.

    crawlyard check https://docs.example.org
    crawlyard check https://docs.example.org --fail-on new --junit links.xml
    crawlyard check https://docs.example.org --externals --max-externals 200
    crawlyard check https://docs.example.org --max-pages 500 --json > links.json

    Also fragments without an element, redirects to redirects, titles of several pages, and
    canonical URLs that fail, redirect or name another. It is a job with the tag 'check'.
    """
    if max_externals is not None and not externals:
        raise Invalid("--max-externals", "says how many --externals, which is missing")
    if junit:
        files.check_writable(Path(junit))
    form = form_of(urls or (), asked)
    tags = getattr(asked, "tags", None) or []
    form |= {**_CHECKS, "tags": [*tags, *({TAG} - {*tags})]}
    if externals:
        form["max_externals"] = _MOST_EXTERNALS if max_externals is None else max_externals
    jobs = session.surface.jobs
    job = await jobs.create(form)
    code = await run_and_watch.attend(session, job.id, run_and_watch.Wish(works=True, silent=True))
    job = await jobs.get(job.id)
    if job.state != "completed":
        return code  # there is nothing to be sure of
    before = await _last(session, job) if fail_on is FailOn.NEW else None
    found = await jobs.check(job.id, since=None if before is None else before.id)
    if session.whole:
        session.write(found)
    else:
        await session.listed(_rows(found.items), ROWS)
    _tell(session, found, compared=fail_on is FailOn.NEW)
    if junit:
        with files.whole_file(Path(junit)) as sink:
            sink(junit_file.written(found, job.spec.urls))
    failing = fail_on is not FailOn.NONE and any(one.new is not False for one in found.items)
    return FOUND if failing else code


async def _last(session: "Session", job: "JobOut") -> "JobOut | None":
    """Return the last completed check of the same start URLs before *job*."""
    jobs = session.surface.jobs
    async for one in every(jobs.list, limit=_MOST_CHECKS, tag=TAG, state="completed"):
        same = one.id != job.id and not one.damaged and one.spec.urls == job.spec.urls
        if same and one.spec.keep_anchors:
            return one
    return None


class Row(Struct, frozen=True, kw_only=True):
    """One link to what is wrong, or one page; *finding* has the rest."""

    finding: "FindingOut"
    page: str = ""
    text: str = ""


def _rows(findings: "Sequence[FindingOut]") -> Iterator[Row]:
    for one in findings:
        linked = [Row(finding=one, page=by.url, text=by.text) for by in one.linked_from]
        yield from linked or [Row(finding=one, page=page) for page in one.pages or ("",)]


def _mark(row: Row) -> str:
    return "new" if row.finding.new else ""


ROWS: View[Row] = View(
    key=lambda row: row.finding.address,
    columns=(
        Column(name="KIND", value=lambda r: r.finding.kind),
        Column(name="NEW", value=lambda r: r.finding.new, shown=_mark, least=100),
        Column(name="STATUS", value=lambda r: r.finding.status, right=True),
        Column(name="URL", value=lambda r: r.finding.address, wide=True),
        Column(name="LINKED FROM", value=lambda r: r.page, wide=True),
        Column(name="TEXT", value=lambda r: r.text, wide=True, least=100),
        Column(name="DETAIL", value=lambda r: r.finding.detail, wide=True, least=100),
    ),
)


def _tell(session: "Session", found: "CheckOut", *, compared: bool) -> None:
    """Say what was found, and what could not be checked."""
    said = [counted(n, *_WORDS.get(kind, (kind, kind))) for kind, n in found.counts.items()]
    checked = f"{counted(found.links, 'link')} on {counted(found.pages, 'page')}"
    session.tell(f"checked {checked}: {', '.join(said) or 'all is well'}")
    if compared and found.since is None:
        session.tell("no earlier check of these start URLs: all that was found counts as new")
    elif compared:
        session.tell(f"{sum(bool(one.new) for one in found.items):,} new since job {found.since}")
    if found.unchecked:
        session.tell(f"{counted(found.unchecked, 'URL')} not checked: outside of the crawl")
