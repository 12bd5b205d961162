"""`crawlyard jobs log | frontier | shards | config | exclude | why | counts | wait`, closely."""

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.jobs.lookup import JobFilter
from crawlyard.cli.options import Common, Id, Ids, choice, flag, flat, option
from crawlyard.cli.stdin_args import read_ids
from crawlyard.core.jobs.job_log import LevelWord
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.jobs import look_reports
else:
    look_reports = lazily("crawlyard.cli.jobs.look_reports")
    invoke = lazily("crawlyard.cli.invoke")


Follow = Annotated[bool, flag("--follow", "-f", text="Go on until the job has ended.")]
AtLeast = Annotated[
    LevelWord, choice("--level", of=LevelWord, text="At least this", default=LevelWord.INFO)
]
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
Diff = Annotated[bool, flag("--diff", text="Only what is not as its template says.")]
Pattern = Annotated[
    str, typer.Argument(metavar="PATTERN", help="A glob, or re:REGEX.", show_default=False)
]
Url = Annotated[str, typer.Argument(metavar="URL", help="Which URL.", show_default=False)]
DryRun = Annotated[bool, flag("--dry-run", text="Only say what would go.")]
Timeout = Annotated[
    timedelta | None,
    option(values.duration, "--timeout", "DURATION", "Give up after it; the job goes on."),
]
Query = Annotated[str, option(str, "--query", "TEXT", "Only where name or URL has this in it.")]
Tags = Annotated[
    list[str] | None, option(values.line, "--tag", "TEXT", "Only jobs with this tag. Repeatable.")
]


@flat
def log(
    job: Id, *, level: AtLeast = LevelWord.INFO, follow: Follow = False, common: Common
) -> None:
    """Write what a job says while it runs, oldest first.

    crawlyard jobs log last
    crawlyard jobs log last -f --level warning
    """
    doing = partial(look_reports.log, word=job, level=level, follow=follow, common=common)
    invoke.run(common, doing)


@flat
def frontier(job: Id, *, limit: Limit = 50, common: Common) -> None:
    """List the URLs of a job that wait to be fetched.

    crawlyard jobs frontier last
    crawlyard jobs frontier last --limit 0 -q > waiting.txt
    """
    invoke.run(common, partial(look_reports.frontier, word=job, limit=limit, common=common))


@flat
def shards(job: Id, *, common: Common) -> None:
    """List the parts that a job is spread over, and who has each.

    crawlyard jobs shards last
    crawlyard jobs shards last --json
    """
    invoke.run(common, partial(look_reports.shards, word=job, common=common))


@flat
def config(job: Id, *, diff: Diff = False, common: Common) -> None:
    """Show the settings of a job in force, and where each comes from.

    crawlyard jobs config last
    crawlyard jobs config last --diff
    """
    invoke.run(common, partial(look_reports.config, word=job, diff=diff, common=common))


@flat
def exclude(job: Id, pattern: Pattern, *, dry_run: DryRun = False, common: Common) -> None:
    """Exclude URLs that match a pattern from a job, those that are waiting too.

    crawlyard jobs exclude last '*/print/*' --dry-run
    crawlyard jobs exclude last '*/print/*'
    """
    doing = partial(look_reports.exclude, word=job, pattern=pattern, dry_run=dry_run, common=common)
    invoke.run(common, doing)


@flat
def why(job: Id, url: Url, *, common: Common) -> None:
    """Tell why a URL was fetched, or was not.

    crawlyard jobs why last https://docs.example.org/private/
    crawlyard jobs why last https://docs.example.org/ --json
    """
    invoke.run(common, partial(look_reports.why, word=job, url=url, common=common))


@flat
def counts(*, tag: Tags = None, query: Query = "", common: Common) -> None:
    """Count jobs by state.

    crawlyard jobs counts
    crawlyard jobs counts --tag nightly --json

    With --tag or --query, counts stop at 10,000.
    """
    asked = JobFilter(tag=tag, text=query)
    invoke.run(common, partial(look_reports.counts, asked=asked, common=common))


@flat
def wait(jobs: Ids, *, timeout: Timeout = None, common: Common) -> None:
    """Wait until jobs have ended or are paused.

    crawlyard jobs wait last --timeout 10m
    crawlyard jobs list -q --state running | crawlyard jobs wait -

    Exits with 10 if one failed, 11 if one was cancelled, 124 if the time ran out.
    """
    doing = partial(look_reports.wait, ids=read_ids(jobs), longest=timeout, common=common)
    invoke.run(common, doing)
