"""`crawlyard jobs pages | errors | events | export`: read what a job has brought."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.options import Basics, Common, Id, Only, choice, flag, flat, option
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.errors import Invalid
from crawlyard.export.base import Format
from crawlyard.lazy import lazily
from crawlyard.store.queries import PageQuery

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.jobs import exports, reports
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
    asked = PageQuery(
        failed=None if only is None else only is Only.FAILED,
        needs_scripts=needs_scripts or None,
        kinds=frozenset(kind or ()),
        text=query,
    )
    invoke.run(common, partial(reports.pages, word=job, query=asked, limit=limit, common=common))


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
    job: Id,
    *,
    out: Out = "-",
    format: OutFormat = None,  # noqa: A002 - the name of the option
    only: OnlyRecords = None,
    basics: Basics,
) -> None:
    """Export a job's page records, also while it runs.

    crawlyard jobs export last --out pages.jsonl
    crawlyard jobs export last --format csv --only ok > pages.csv
    crawlyard jobs export last --out pages.parquet
    crawlyard jobs export last --out site.warc.gz
    crawlyard jobs export last | jq -r .title
    """
    where = exports.Export.of(out, format)
    failed = None if only is None else only is Only.FAILED
    invoke.run(basics, partial(reports.export, word=job, where=where, failed=failed))
