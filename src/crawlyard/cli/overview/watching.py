"""`crawlyard ops | stats | health`: what goes on in a yard."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.options import Basics, Common, flat, option
from crawlyard.cli.stdout import write_line
from crawlyard.cli.when import When
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.overview import watch_reports
else:
    invoke = lazily("crawlyard.cli.invoke")
    watch_reports = lazily("crawlyard.cli.overview.watch_reports")

ops_app = typer.Typer()

Operation = Annotated[
    str, typer.Argument(metavar="ID", help="An operation's id.", show_default=False)
]
Since = Annotated[
    When | None,
    option(When.of, "--since", "WHEN", "What ended from then on: 7d, or 2026-11-24; else 24h."),
]
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]


@ops_app.callback(invoke_without_command=True)
def ops_root(context: typer.Context) -> None:
    """See what is done to many things in the background, and end it.

    crawlyard ops list
    crawlyard ops cancel ID
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@ops_app.command("list")
@flat
def list_operations(*, limit: Limit = 50, common: Common) -> None:
    """List operations, newest first.

    crawlyard ops list
    crawlyard ops list --json
    """
    invoke.run(common, partial(watch_reports.operations, limit=limit, common=common))


@ops_app.command("show")
@flat
def show_operation(operation: Operation, *, common: Common) -> None:
    """Show how far an operation is, and what could not be done.

    crawlyard ops show ID
    """
    invoke.run(common, partial(watch_reports.operation, word=operation, common=common))


@ops_app.command("cancel")
@flat
def cancel_operation(operation: Operation, *, common: Common) -> None:
    """End an operation; what it has done stays done.

    crawlyard ops cancel ID
    """
    invoke.run(common, partial(watch_reports.cancel, word=operation, common=common))


@flat
def stats(*, since: Since = None, common: Common) -> None:
    """Count jobs, workers, and the pages of today.

    crawlyard stats
    crawlyard stats --since 7d --json

    Your own jobs, as an admin all; days are of UTC. JSON has hours and days as well.
    """
    invoke.run(common, partial(watch_reports.stats, since=since, common=common))


@flat
def health(*, basics: Basics) -> None:
    """Check that a yard can work: its store answers, and is as it must be.

    crawlyard health
    crawlyard health --server http://127.0.0.1:8700

    Names jobs whose rows are damaged. Exits with 6 if the yard cannot work.
    """
    invoke.run(basics, watch_reports.health)
