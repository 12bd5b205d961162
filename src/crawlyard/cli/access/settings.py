"""`crawlyard settings …`: what an admin allows while the yard runs."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli.options import Common, flag, flat
from crawlyard.cli.stdout import write_line
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.access import reports
else:
    reports = lazily("crawlyard.cli.access.reports")
    invoke = lazily("crawlyard.cli.invoke")

app = typer.Typer()

Addresses = Annotated[
    bool | None,
    flag(
        "--addresses/--no-addresses",
        text="Allow jobs and webhooks to open addresses with --allow-address.",
    ),
]
Private = Annotated[
    bool | None,
    flag(
        "--private/--no-private", text="Allow jobs to open all private addresses (--allow-private)."
    ),
]
IgnoreRobots = Annotated[
    bool | None,
    flag(
        "--ignore-robots/--no-ignore-robots",
        text="Allow jobs to ignore robots.txt (--ignore-robots).",
    ),
]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Show and change what the users of a yard may ask for.

    crawlyard settings grants
    crawlyard settings grants --addresses --no-private
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@app.command()
@flat
def grants(
    *,
    addresses: Addresses = None,
    private: Private = None,
    ignore_robots: IgnoreRobots = None,
    common: Common,
) -> None:
    """Show or change what jobs over the API may ask for; options not given keep their value.

    crawlyard settings grants
    crawlyard settings grants --addresses --server http://127.0.0.1:8700
    crawlyard settings grants --no-private --no-ignore-robots

    Only an admin can change grants. Revoking a grant pauses the jobs that need it. Without
    --server, the command line needs no grants.
    """
    asked = {"addresses": addresses, "private": private, "ignore_robots": ignore_robots}
    changes = {name: value for name, value in asked.items() if value is not None}
    doing = partial(reports.grants, changes=changes, common=common)
    invoke.run(common, doing, creates=bool(changes))
