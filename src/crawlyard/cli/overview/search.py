"""`crawlyard pages | attention`: over all jobs, what they have brought, and what needs a person."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.options import Common, Only, choice, flag, flat, option
from crawlyard.cli.when import When
from crawlyard.core.crawl.page import ErrorKind, status_asked
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.overview import search_reports
else:
    search_reports = lazily("crawlyard.cli.overview.search_reports")
    invoke = lazily("crawlyard.cli.invoke")

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[WORD]...",
        help="Words that are in URL, title or text, all of them; 'two words' stay together.",
        show_default=False,
    ),
]
Jobs = Annotated[
    list[str] | None,
    option(str, "--job", "ID", "Only of this job: an id, a part of it, or last. Repeatable."),
]
Templates = Annotated[
    list[str] | None,
    option(str, "--template", "NAME", "Only of jobs made from it. Repeatable."),
]
Hosts = Annotated[list[str] | None, option(str, "--host", "HOST", "Only of this host. Repeatable.")]
Statuses = Annotated[
    list[int] | None,
    option(status_asked, "--status", "CODE", "Only such as 404, or 4xx. Repeatable."),
]
Types = Annotated[
    list[str] | None,
    option(str.lower, "--type", "TYPE", "Only such as text/html, or image/*. Repeatable."),
]
OnlyRecords = Annotated[
    Only | None, choice("--only", of=Only, text="Without an error, or with one")
]
Kinds = Annotated[
    list[ErrorKind] | None, choice("--kind", of=ErrorKind, text="Only such failures; repeatable")
]
NeedsScripts = Annotated[
    bool, flag("--needs-scripts", text="Only pages whose text is empty or partial without scripts.")
]
Since = Annotated[
    When | None,
    option(When.of, "--since", "WHEN", "Fetched from then on: 2h, 7d, or 2026-11-24T16:30."),
]
Until = Annotated[When | None, option(When.of, "--until", "WHEN", "Fetched before then: the same.")]
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]


@flat
def pages(
    words: Words = None,
    *,
    job: Jobs = None,
    template: Templates = None,
    host: Hosts = None,
    status: Statuses = None,
    type: Types = None,  # noqa: A002 - the name of the option
    only: OnlyRecords = None,
    kind: Kinds = None,
    needs_scripts: NeedsScripts = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    common: Common,
) -> None:
    """List the pages of all jobs, the last that was stored first; with words, search them.

    crawlyard pages --host docs.example.org --status 4xx
    crawlyard pages 'getting started' install --since 7d
    crawlyard pages --limit 0 -o jsonl > pages.jsonl

    Nothing is indexed for words: what is rare in many pages takes a while.
    """
    asked = search_reports.Asked(
        words=tuple(words or ()),
        jobs=tuple(job or ()),
        templates=tuple(template or ()),
        hosts=tuple(host or ()),
        statuses=tuple(status or ()),
        types=tuple(type or ()),
        failed=None if only is None else only is Only.FAILED,
        kinds=tuple(kind or ()),
        needs_scripts=needs_scripts or None,
        since=since,
        until=until,
    )
    doing = partial(search_reports.pages, asked=asked, limit=limit, common=common)
    absent = partial(search_reports.no_pages, common=common)
    invoke.run(common, doing, absent=absent)


@flat
def attention(*, common: Common) -> None:
    """List what needs a person: what is late, held up or failing, and what helps.

    crawlyard attention
    crawlyard attention --json

    Your own things, as an admin all; of each kind at most 20.
    """
    invoke.run(common, partial(search_reports.attention, common=common))
