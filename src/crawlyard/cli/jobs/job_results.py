"""`crawlyard jobs pages | errors | events | export`: read what a job has brought."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.options import Basics, Common, Id, MaybeId, Only, choice, flag, flat, option
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.errors import Invalid
from crawlyard.export.base import Format
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.jobs import exports, reports
    from crawlyard.services.jobs.terms import SearchTerms
else:
    exports, reports = lazily("crawlyard.cli.jobs.exports"), lazily("crawlyard.cli.jobs.reports")
    invoke = lazily("crawlyard.cli.invoke")

Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
OnlyRecords = Annotated[
    Only | None, choice("--only", of=Only, text="Without an error, or with one")
]
Kinds = Annotated[
    list[ErrorKind] | None, choice("--kind", of=ErrorKind, text="Only such failures; repeatable")
]
Query = Annotated[str, option(str, "--query", "TEXT", "Only where URL or title has this in it.")]
Skipped = Annotated[bool, flag("--skipped", text="The URLs that a rule kept out, and which.")]
NeedsScripts = Annotated[
    bool, flag("--needs-scripts", text="Only pages whose text is empty or partial without scripts.")
]
Out = Annotated[str, option(str, "--out", "FILE", "Where to; '-' is stdout, and the default.")]
Schedule = Annotated[str, option(str, "--schedule", "NAME", "The runs of this schedule.")]
Last = Annotated[
    int | None, option(values.run_count, "--last", "N", "How many of them, the newest; else 1.")
]
OutFormat = Annotated[
    Format | None, choice("--format", of=Format, text="Of --out, else by its suffix")
]


@flat
def pages(
    job: Id,
    *,
    only: OnlyRecords = None,
    kind: Kinds = None,
    query: Query = "",
    needs_scripts: NeedsScripts = False,
    skipped: Skipped = False,
    limit: Limit = 50,
    common: Common,
) -> None:
    """List a job's pages in the order they came; also while it runs.

    crawlyard jobs pages last --only failed
    crawlyard jobs pages last --limit 0 -o csv > pages.csv
    crawlyard jobs pages last --skipped
    """
    if skipped:
        if only or kind or query or needs_scripts:
            raise Invalid("--skipped", "lists URLs that were never fetched: no other filter fits")
        invoke.run(common, partial(reports.skipped, word=job, limit=limit, common=common))
    terms: SearchTerms = {
        "failed": None if only is None else only is Only.FAILED,
        "needs_scripts": needs_scripts or None,
        "kind": tuple(kind or ()),
        "q": query,
    }
    invoke.run(common, partial(reports.pages, word=job, terms=terms, limit=limit, common=common))


@flat
def errors(job: Id, *, common: Common) -> None:
    """List a job's failed URLs by kind, the most frequent first.

    crawlyard jobs errors last
    crawlyard jobs errors last --json
    """
    invoke.run(common, partial(reports.errors, word=job, common=common))


@flat
def events(job: Id, *, common: Common) -> None:
    """List what happened to a job, oldest first.

    crawlyard jobs events last
    crawlyard jobs events last -o jsonl
    """
    invoke.run(common, partial(reports.events, word=job, common=common))


@flat
def export(
    job: MaybeId = None,
    *,
    out: Out = "-",
    format: OutFormat = None,  # noqa: A002 - the name of the option
    only: OnlyRecords = None,
    schedule: Schedule = "",
    last: Last = None,
    basics: Basics,
) -> None:
    """Export a job's page records, also while it runs; or those of the last runs of a schedule.

    crawlyard jobs export last --out pages.jsonl
    crawlyard jobs export last --format csv --only ok > pages.csv
    crawlyard jobs export last --out pages.parquet
    crawlyard jobs export last --out site.warc.gz
    crawlyard jobs export last | jq -r .title
    crawlyard jobs export --schedule nightly --last 7 --out week.jsonl

    Of several runs, each URL is written once, as the newest run has it.
    """
    if bool(job) is bool(schedule):
        raise Invalid("--schedule", "expected a job or a schedule, one of them")
    if last is not None and not schedule:
        raise Invalid("--last", "says how many runs of a --schedule, which is missing")
    where = exports.Export.of(out, format)
    failed = None if only is None else only is Only.FAILED
    if schedule:
        where.check_text()
        doing = partial(
            reports.export_runs, schedule=schedule, last=last or 1, where=where, failed=failed
        )
        invoke.run(basics, doing)
    invoke.run(basics, partial(reports.export, word=job or "", where=where, failed=failed))
