"""`crawlyard context …`: names of servers, and which of them commands ask."""

from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli.options import Basics, Common, flag, flat
from crawlyard.cli.stdout import write_line
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import context_reports
else:
    context_reports = lazily("crawlyard.cli.context_reports")

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the context.", show_default=False)]
Url = Annotated[
    str, typer.Argument(metavar="URL", help="Where its yard is served.", show_default=False)
]
Use = Annotated[bool, flag("--use", text="Ask it from now on.")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Give servers names, and say which one commands ask from now on.

    crawlyard context add prod https://yard.example.org --use
    crawlyard context use local
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@app.command("list")
@flat
def list_(*, common: Common) -> None:
    """List the contexts; 'local' is the yard of this machine.

    crawlyard context list
    crawlyard context list --json
    """
    context_reports.contexts(common)


@app.command()
@flat
def use(name: Name, *, basics: Basics) -> None:
    """Let commands ask this server from now on, or with 'local' none.

    crawlyard context use prod
    crawlyard context use local

    Options go before it, and so do CRAWLYARD_SERVER, CRAWLYARD_CONTEXT, and a data
    directory or database that the environment or crawlyard.toml names.
    """
    context_reports.use(name, basics)


@app.command()
@flat
def add(name: Name, url: Url, *, use: Use = False, basics: Basics) -> None:
    """Give a server a name; sign in by `crawlyard login`.

    crawlyard context add prod https://yard.example.org
    crawlyard context add lab http://127.0.0.1:8700 --use
    """
    context_reports.add(name, url, basics, use=use)


@app.command()
@flat
def remove(name: Name, *, basics: Basics) -> None:
    """Forget the name of a server; the token for it stays until `crawlyard logout`.

    crawlyard context remove prod
    """
    context_reports.remove(name, basics)
