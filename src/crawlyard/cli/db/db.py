"""`crawlyard db …`: the database as a whole, on the machine that reaches it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli.options import Common, flag, flat, option
from crawlyard.cli.stdout import write_line
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli.db import db_work
else:
    db_work = lazily("crawlyard.cli.db.db_work")

app = typer.Typer()

From = Annotated[
    str, option(str, "--from", "WHERE", "A data directory, file or URL; else that of this yard.")
]
To = Annotated[str, option(str, "--to", "WHERE", "A data directory, file or URL; empty as yet.")]
File = Annotated[
    Path, typer.Argument(metavar="FILE", help="One file with everything.", show_default=False)
]
Restart = Annotated[bool, flag("--restart", text="Throw away what an unfinished copy has left.")]
AnyWay = Annotated[bool, flag("--force", text="Also while workers are alive: copy this moment.")]
Replace = Annotated[bool, flag("--force", text="Replace FILE if it exists.")]
GiveUp = Annotated[bool, flag("--force", text="Give up what the yard holds now.")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Copy the database, back it up, restore it, look after it.

    crawlyard db backup yard.backup
    crawlyard db copy --to postgresql://crawlyard@db.example.org/crawlyard
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@app.command()
@flat
def copy(
    *,
    to: To,
    from_: From = "",
    restart: Restart = False,
    force: AnyWay = False,
    common: Common,
) -> None:
    """Copy everything to an empty database, of SQLite or Postgres; then compare the two.

    crawlyard db copy --to postgresql://crawlyard@db.example.org/crawlyard
    crawlyard db copy --from postgresql://crawlyard@db.example.org/crawlyard --to yard.db

    Killed or stopped, the same command goes on where it was. Until it is complete, no
    Crawlyard opens the copy. Stop the workers first: what is written after the beginning
    is not copied.
    """
    db_work.copy(from_, to, common, restart=restart, force=force)


@app.command()
@flat
def backup(file: File, *, force: Replace = False, common: Common) -> None:
    """Save the whole database, as it is at this moment, to one file; work goes on meanwhile.

    crawlyard db backup yard.backup
    crawlyard db backup /backups/yard.backup --force

    The file is a SQLite database, also where the yard is on Postgres. Keep it as you keep
    a password: it holds the secrets of webhooks.
    """
    db_work.backup(file, common, force=force)


@app.command()
@flat
def restore(file: File, *, force: GiveUp = False, common: Common) -> None:
    """Make the yard what it was when it was saved, on SQLite or Postgres.

    crawlyard db restore yard.backup
    crawlyard db restore yard.backup --data-dir other-data
    crawlyard db restore yard.backup --force
    """
    db_work.restore(file, common, force=force)


@app.command()
@flat
def upgrade(*, common: Common) -> None:
    """Bring the tables up to date now, rather than when the next command opens them.

    crawlyard db upgrade
    crawlyard db upgrade --json
    """
    db_work.upgrade(common)


@app.command()
@flat
def check(*, common: Common) -> None:
    """Look whether the database is whole and up to date, and how much its tables take.

    crawlyard db check
    crawlyard db check -o json
    """
    db_work.check(common)


@app.command()
@flat
def vacuum(*, common: Common) -> None:
    """Give free room of the database back to the disk; work goes on meanwhile.

    crawlyard db vacuum
    crawlyard db vacuum --json
    """
    db_work.vacuum(common)
