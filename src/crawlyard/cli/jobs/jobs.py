"""`crawlyard jobs …`: find jobs and act on them."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.jobs import job_looks, job_results
from crawlyard.cli.jobs.lookup import JobFilter
from crawlyard.cli.options import Basics, Common, Id, Ids, Watch, choice, flag, flat, option
from crawlyard.cli.stdin_args import read_ids
from crawlyard.cli.stdout import write_line
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.jobs import actions, reports, run_and_watch
else:
    actions, run_and_watch = (
        lazily("crawlyard.cli.jobs.actions"),
        lazily("crawlyard.cli.jobs.run_and_watch"),
    )
    reports, invoke = lazily("crawlyard.cli.jobs.reports"), lazily("crawlyard.cli.invoke")

app = typer.Typer()


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Find jobs, act on them, read what they brought.

    crawlyard jobs list --state running
    crawlyard jobs pause last
    crawlyard jobs export last --out pages.jsonl
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
Most = Annotated[int, option(values.queue_limit, "--limit", "N", "How many at most, to 200.")]
Failed = Annotated[
    bool,
    flag("--failed", text="The same job, its failed URLs again and what is left; else a new job."),
]
Kinds = Annotated[
    list[ErrorKind] | None, choice("--kind", of=ErrorKind, text="Only such failures; repeatable")
]
Now = Annotated[bool, flag("--now", text="The same job at once, which waits for its time.")]
Assignments = Annotated[
    list[str],
    typer.Argument(metavar="FIELD=VALUE", help="What to change.", show_default=False),
]
Yes = Annotated[bool, flag("--yes", "-y", text="Do not ask.")]


@app.command("list")
@flat
def list_(
    *,
    asked: JobFilter,
    limit: Limit = 50,
    common: Common,
) -> None:
    """List jobs, newest first.

    crawlyard jobs list --state running --state pending
    crawlyard jobs list -q --state failed | crawlyard jobs retry --failed -
    crawlyard jobs list --schedule nightly --since 7d --json
    """
    doing = partial(reports.jobs, asked=asked, limit=limit, common=common)
    invoke.run(common, doing, absent=partial(reports.no_jobs, common))


@app.command()
@flat
def queue(*, limit: Most = 50, common: Common) -> None:
    """List the jobs that wait, in the order that workers take them, and what each waits for.

    crawlyard jobs queue
    crawlyard jobs queue --limit 5 --json

    Your own, as an admin all; a place counts the jobs of all users.
    """
    doing = partial(reports.queue, limit=limit, common=common)
    invoke.run(common, doing, absent=partial(reports.no_jobs, common))


@app.command()
@flat
def show(job: Id, *, common: Common) -> None:
    """Show all there is to know of one job.

    crawlyard jobs show last
    crawlyard jobs show 7f3a91c2 --json
    """
    invoke.run(common, partial(reports.job, word=job, common=common))


@app.command()
@flat
def watch(job: Id, *, basics: Basics) -> None:
    """Watch a job until it ends; Ctrl-C leaves it running.

    crawlyard jobs watch last
    crawlyard jobs watch 7f3a91c2 --json

    Exits with 10 if it failed, 11 if it was cancelled, 12 if it had too many errors.
    """
    wish = run_and_watch.Wish(works=False, json=basics.json)
    invoke.run(basics, partial(run_and_watch.watch, word=job, wish=wish))


@app.command()
@flat
def pause(jobs: Ids, *, common: Common) -> None:
    """Hold jobs; what is left to fetch is kept.

    crawlyard jobs pause last
    crawlyard jobs list -q --state running | crawlyard jobs pause -
    """
    invoke.run(common, partial(actions.pause, words=read_ids(jobs), common=common))


@app.command()
@flat
def resume(jobs: Ids, *, here: Watch, common: Common) -> None:
    """Queue paused jobs again, or ended ones that have URLs left.

    crawlyard jobs resume last --watch
    crawlyard jobs set last limits.pages=5000 && crawlyard jobs resume last
    """
    wish = run_and_watch.Wish.of(here, json=common.json)
    doing = partial(actions.resume, words=read_ids(jobs), common=common, wish=wish)
    invoke.run(common, doing)


@app.command()
@flat
def cancel(jobs: Ids, *, common: Common) -> None:
    """End jobs; their pages are kept.

    crawlyard jobs cancel 7f3a91c2
    crawlyard jobs list -q --tag trial | crawlyard jobs cancel -
    """
    invoke.run(common, partial(actions.cancel, words=read_ids(jobs), common=common))


@app.command()
@flat
def retry(
    jobs: Ids,
    *,
    failed: Failed = False,
    kind: Kinds = None,
    now: Now = False,
    here: Watch,
    common: Common,
) -> None:
    """Run ended jobs again as new ones, or only their failed URLs; or end a wait.

    crawlyard jobs retry last
    crawlyard jobs retry last --failed --watch
    crawlyard jobs retry last --kind timeout --kind http_5xx
    crawlyard jobs retry last --now
    """
    wish = run_and_watch.Wish.of(here, json=common.json)
    ids = read_ids(jobs)
    doing = partial(actions.retry, words=ids, common=common, wish=wish)
    if now and (failed or kind):
        raise Invalid("--now", "a job that waits has no failed URLs to choose from; leave it out")
    if now:
        doing = partial(actions.retry_now, words=ids, common=common, wish=wish)
    elif failed or kind:
        kinds = frozenset(kind or ())
        doing = partial(actions.retry_failed, words=ids, common=common, wish=wish, kinds=kinds)
    invoke.run(common, doing)


@app.command("set")
@flat
def set_(job: Id, changes: Assignments, *, common: Common) -> None:
    """Change a job while it waits, runs or is paused; it takes effect at once.

    crawlyard jobs set last priority=high limits.pages=20000
    crawlyard jobs set last limits.duration=none delay=1s concurrency=8
    crawlyard jobs set last exclude=+'*/print/*' tags=+nightly

    Fields: name, priority, tags, include, exclude, max_depth, delay, per_host,
    concurrency, limits.pages, limits.bytes, limits.duration, limits.errors.
    In a list, +VALUE adds and -VALUE takes away; 'none' clears.
    """
    invoke.run(common, partial(actions.edit, word=job, assignments=changes, common=common))


app.command("pages")(job_results.pages)
app.command("errors")(job_results.errors)
app.command("events")(job_results.events)
app.command("export")(job_results.export)
app.command("frontier")(job_looks.frontier)
app.command("shards")(job_looks.shards)
app.command("log")(job_looks.log)
app.command("config")(job_looks.config)
app.command("why")(job_looks.why)
app.command("exclude")(job_looks.exclude)
app.command("counts")(job_looks.counts)
app.command("wait")(job_looks.wait)


@app.command()
@flat
def delete(jobs: Ids, *, yes: Yes = False, basics: Basics) -> None:
    """Delete ended or paused jobs with all their pages.

    crawlyard jobs delete 7f3a91c2
    crawlyard jobs list -q --state cancelled | crawlyard jobs delete --yes -
    """
    invoke.run(basics, partial(actions.delete, words=read_ids(jobs), yes=yes))
