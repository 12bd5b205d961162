"""`crawlyard check`: crawls a site and reports its broken links."""

from enum import StrEnum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs.crawl_options import CheckOptions, Urls, form_of
from crawlyard.cli.jobs.summary import ENDED
from crawlyard.cli.options import IdempotencyKey, choice, flag, option
from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.output import count_column as count_of
from crawlyard.cli.usage import essential
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid
from crawlyard.export import files
from crawlyard.lazy import lazily

# help needs none of them: 30 ms
with lazily():
    from crawlyard.cli.jobs import junit as junit_file
    from crawlyard.cli.jobs import run_and_watch
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawlyard.cli.session import Session
    from crawlyard.core.crawl.link_check_answers import CheckOut, FindingOut
    from crawlyard.core.jobs.answers import JobOut

FOUND = 13
"""Exit code of a check with findings to fail on."""

INCOMPLETE = 14
"""Exit code of a check that a limit or a failure ended early."""

TAG = "check"
"""Tag of the jobs that this command creates."""

_MOST_EXTERNALS = 1_000
_MOST_CHECKS = 200  # searched for the previous one
_MOST_NAMED = 3  # unchecked URLs named for each reason

_CHECKS = {"text": "none", "store_noindex": True, "keep_links": True, "keep_anchors": True}
"""Fields of the job that options do not change: links and ids of all pages, no text."""

_WORDS = {
    "broken_link": ("broken link", "broken links"),
    "missing_fragment": ("missing fragment", "missing fragments"),
    "redirect_chain": ("redirect chain", "redirect chains"),
    "redirect": ("redirect", "redirects"),
    "duplicate_title": ("duplicate title", "duplicate titles"),
    "canonical": ("contradicting canonical", "contradicting canonicals"),
    "orphan_page": ("orphan page", "orphan pages"),
}

_REASONS = {
    "limit": "beyond a limit",
    "failed": "without a usable response",
    "robots": "forbidden by robots.txt",
    "other_site": "on other sites",
    "excluded": "excluded",
    "nofollow": "behind rel=nofollow",
}


class FailOn(StrEnum):
    """Findings that make the exit code `FOUND`."""

    ANY = auto()
    NEW = auto()  # not found by the previous check of the same start URLs
    NONE = auto()


Fails = Annotated[
    FailOn,
    choice("--fail-on", of=FailOn, text="Findings that cause exit code 13", default=FailOn.ANY),
]
Externals = Annotated[
    bool, flag("--externals", text="Also check links to other sites, without following them.")
]
MaxExternals = Annotated[
    int | None,
    option(
        values.count,
        "--max-externals",
        "N",
        f"Maximum number of external links; default {_MOST_EXTERNALS:,}.",
    ),
]
AllowIncomplete = Annotated[
    bool, flag("--allow-incomplete", text="Exit with 0 even if URLs were left unchecked.")
]
JUnit = Annotated[str, option(str, "--junit", "FILE", "Write the findings as JUnit XML.")]


@essential("--fail-on --allow-incomplete --externals --junit --exclude --max-pages --json --server")
@action(creates=True)
async def check(
    session: "Session",
    urls: Urls = None,
    *,
    fail_on: Fails = FailOn.ANY,
    allow_incomplete: AllowIncomplete = False,
    junit: JUnit = "",
    externals: Externals = False,
    max_externals: MaxExternals = None,
    idempotency_key: IdempotencyKey = None,
    options: CheckOptions,
) -> int:
    """Crawl a site and report broken links, with all pages that contain them.

    crawlyard check https://docs.example.org
    crawlyard check https://docs.example.org --fail-on new --junit links.xml
    crawlyard check https://docs.example.org --externals --max-externals 200
    crawlyard check https://docs.example.org --max-pages 500 --json > links.json

    Also reports links to missing fragments, redirects, duplicate titles, canonical URLs that
    fail, redirect or declare another canonical URL, pages that only a sitemap lists, and URLs
    that could not be checked. The job reads the sitemaps in robots.txt and has the tag 'check'.
    """
    if max_externals is not None and not externals:
        raise Invalid("--max-externals", "requires --externals")
    if junit:
        files.check_writable(Path(junit))
    form = _form(urls or (), options)
    if externals:
        form["max_externals"] = _MOST_EXTERNALS if max_externals is None else max_externals
    jobs = session.surface.jobs
    job = await jobs.create(form, idempotency_key=idempotency_key)
    code = await run_and_watch.attend(
        session, job.id, run_and_watch.RunOptions(works=True, silent=True)
    )
    job = await jobs.get(job.id)
    report = None
    if job.state in ENDED:
        if fail_on is FailOn.NEW:
            before, skipped = await _last_complete(session, job)
            report = await session.surface.site.check(job.id, since=before)
            await _write(session, report)
            _tell_comparison(session, report, skipped)
        else:
            report = await session.surface.site.check(job.id)
            await _write(session, report)
    if junit:
        with files.whole_file(Path(junit)) as sink:
            sink(junit_file.render(job, report))
    if job.state != "completed" or report is None:
        return code or INCOMPLETE  # a pause exits with 0
    if fail_on is not FailOn.NONE and any(finding.new is not False for finding in report.items):
        return FOUND
    return code or (INCOMPLETE if report.incomplete and not allow_incomplete else 0)


def _form(urls: "Sequence[str]", options: CheckOptions) -> dict[str, object]:
    """Return the spec of a check's job."""
    form = form_of(urls, options)
    tags = getattr(options, "tags", None) or []
    form |= {**_CHECKS, "tags": [*tags, *({TAG} - {*tags})]}
    if "max_depth" not in form:  # a sitemap leads to pages of any depth
        form.setdefault("sitemaps", ["robots"])
    return form


async def _last_complete(session: "Session", job: "JobOut") -> tuple[str | None, int]:
    """Return the previous complete check of the same start URLs, if there is one.

    The number counts later incomplete ones: URLs that they did not reach would seem new.
    """
    site, incomplete = session.surface.site, 0
    async for older in every(
        session.surface.jobs.list, limit=_MOST_CHECKS, tag=TAG, state="completed"
    ):
        same = older.id != job.id and not older.damaged and older.spec.urls == job.spec.urls
        if not (same and older.spec.keep_anchors):
            continue
        # a stop at a limit shows without reading all links of that job
        if not (older.outcome.startswith("Stopped") or (await site.check(older.id)).incomplete):
            return older.id, incomplete
        incomplete += 1
    return None, incomplete


def _tell_comparison(session: "Session", report: "CheckOut", incomplete: int) -> None:
    """Report the number of new findings, and the check they are compared with."""
    if report.since is not None:
        new = sum(bool(finding.new) for finding in report.items)
        later = f" ({count_noun(incomplete, 'later check')} incomplete)" if incomplete else ""
        session.tell(f"{new:,} new since job {report.since}{later}")
    elif incomplete:
        checks = count_noun(incomplete, "earlier check")
        session.tell(f"{checks} of these start URLs, none complete: all findings count as new")
    else:
        session.tell("no earlier check of these start URLs: all findings count as new")


async def _write(session: "Session", report: "CheckOut") -> None:
    if session.uses_api_format:
        session.write_record(report)
    else:
        await session.write_list(report.items, FINDINGS)
    _tell(session, report)


def _sources(finding: "FindingOut") -> list[str]:
    """Return the pages and the sitemap that lead to a finding, or the pages it concerns."""
    sitemap = [f"sitemap {finding.sitemap}"] if finding.sitemap else []
    return [*dict.fromkeys(by.url for by in finding.linked_from), *sitemap, *finding.pages]


def _first_source(finding: "FindingOut") -> str:
    first, *more = _sources(finding) or [""]
    return f"{first} and {len(more):,} more" if more else first


def _kind(finding: "FindingOut") -> str:
    return _WORDS.get(finding.kind, (finding.kind,))[0]


def _mark(finding: "FindingOut") -> str:
    return "new" if finding.new else ""


FINDINGS: View["FindingOut"] = View(
    key=lambda finding: finding.address,
    columns=(
        Column(name="KIND", value=lambda f: f.kind, shown=_kind),
        Column(name="NEW", value=lambda f: f.new, shown=_mark, least=100),
        Column(name="STATUS", value=lambda f: f.status, right=True),
        Column(name="URL", value=lambda f: f.address, wide=True),
        count_of("LINKS", lambda f: f.links),
        Column(
            name="LINKED FROM",
            value=lambda f: " ".join(_sources(f)),
            shown=_first_source,
            wide=True,
        ),
        Column(
            name="TEXT",
            value=lambda f: f.linked_from[0].text if f.linked_from else "",
            wide=True,
            least=100,
        ),
        Column(name="DETAIL", value=lambda f: with_commands(f.detail), wide=True, least=100),
    ),
)


def _tell(session: "Session", report: "CheckOut") -> None:
    """Report the findings, and the URLs that were not checked."""
    kinds = [count_noun(n, *_WORDS.get(kind, (kind, kind))) for kind, n in report.counts.items()]
    nothing = "no problems in what was checked" if report.incomplete else "no problems"
    checked = f"{count_noun(report.links, 'link')} on {count_noun(report.pages, 'page')}"
    session.tell(f"checked {checked}: {', '.join(kinds) or nothing}")
    for group in report.unchecked_by:
        named = ", ".join(group.urls[:_MOST_NAMED])
        more = ", …" if group.count > _MOST_NAMED else ""
        reason = _REASONS.get(group.reason, group.reason)
        session.tell(f"not checked: {count_noun(group.count, 'URL')} {reason}: {named}{more}")
    if report.incomplete:
        session.tell(f"incomplete: {report.incomplete_reason}")
    if any(finding.links > 1 for finding in report.items):
        hint = session.full_command(f"jobs links {report.job_id} --to URL")
        session.tell(f"all links to a URL: {hint}")
