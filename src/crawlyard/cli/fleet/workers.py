"""`crawlyard workers …`: who runs jobs, and what is wanted of them."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli.options import Basics, Common, an_id, flat
from crawlyard.cli.stdin_args import read_ids
from crawlyard.cli.stdout import write_line
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.fleet import reports
else:
    reports = lazily("crawlyard.cli.fleet.reports")
    invoke = lazily("crawlyard.cli.invoke")

app = typer.Typer()

Worker = Annotated[
    str,
    typer.Argument(
        parser=an_id,
        metavar="ID",
        help="A worker's id, or its beginning or end.",
        show_default=False,
    ),
]
Workers = Annotated[
    list[str],
    typer.Argument(
        parser=an_id,
        metavar="ID",
        help="Workers' ids, their beginnings or ends, or '-' to read them from stdin.",
        show_default=False,
    ),
]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """See who runs jobs, and let them be quiet, go on or stop.

    crawlyard workers list
    crawlyard workers quiet ID
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@app.command("list")
@flat
def list_(*, common: Common) -> None:
    """List the workers, gone ones for a day as well.

    crawlyard workers list
    crawlyard workers list --json
    """
    doing = partial(reports.workers, common=common)
    invoke.run(common, doing, absent=partial(reports.no_workers, common))


@app.command()
@flat
def show(worker: Worker, *, common: Common) -> None:
    """Show all there is to know of a worker.

    crawlyard workers show ID
    crawlyard workers show ID --json
    """
    invoke.run(common, partial(reports.worker, word=worker, common=common))


@app.command()
@flat
def quiet(workers: Workers, *, common: Common) -> None:
    """Let workers claim no more jobs; they go on with those they have.

    crawlyard workers quiet ID
    crawlyard workers list -q | crawlyard workers quiet -
    """
    invoke.run(common, partial(reports.quiet, words=read_ids(workers), common=common))


@app.command()
@flat
def resume(workers: Workers, *, common: Common) -> None:
    """Let quiet workers claim jobs again.

    crawlyard workers resume ID
    """
    invoke.run(common, partial(reports.resume, words=read_ids(workers), common=common))


@app.command()
@flat
def stop(workers: Workers, *, common: Common) -> None:
    """Let workers give their jobs back and end; others go on with them where they stand.

    crawlyard workers stop ID

    As a SIGTERM would: requests in flight get some seconds. Whatever starts workers where they
    run (systemd, a container's restart policy) may start another one.
    """
    invoke.run(common, partial(reports.stop, words=read_ids(workers), common=common))


@app.command()
@flat
def forget(workers: Workers, *, basics: Basics) -> None:
    """Forget workers that are gone.

    crawlyard workers forget ID
    """
    invoke.run(basics, partial(reports.forget, words=read_ids(workers)))
