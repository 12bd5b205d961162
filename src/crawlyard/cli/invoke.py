"""One command, run where its yard is: in this process, or on a server."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from crawlyard.cli.login import server_named
from crawlyard.cli.loop import finish, traced
from crawlyard.cli.options import Basics
from crawlyard.cli.session import PLACES, Action, settings_of
from crawlyard.config import Settings
from crawlyard.errors import NotFound
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import here, logs, there
else:  # each loads half of the package, and a command needs one of them
    here, there = lazily("crawlyard.cli.here"), lazily("crawlyard.cli.there")
    logs = lazily("crawlyard.cli.logs")


def run(
    basics: Basics,
    action: Action,
    *,
    creates: bool = False,
    absent: Callable[[], int] | None = None,
) -> None:
    """Do *action* on the yard that settings and flags name, and end the command.

    Without *creates*, a data directory that does not exist is not made: *absent* is
    done instead, or `NotFound` raised.

    Raises:
        typer.Exit: always, if nothing else is raised; with what *action* returned.
        CrawlyardError: what went wrong; `cli.main` turns it into a sentence and a code.
    """
    with traced(debug=basics.debug):
        settings = settings_of(basics)
        logs.log_to_stderr(settings.log_level)
        url = server_named(basics, here=bool(settings.model_fields_set & PLACES))
        if url:
            finish(there.act(url, basics, action))
        check_there(settings, creates=creates, absent=absent)
        finish(here.act(settings, basics, action))


def check_there(
    settings: Settings, *, creates: bool, absent: Callable[[], int] | None = None
) -> None:
    """Check that there is a store, or that one may be made.

    Raises:
        NotFound: there is none, and nothing else to do instead.
        typer.Exit: *absent* was done instead.
    """
    if creates or settings.database_url or settings.data_dir.exists():
        return
    if absent is None:
        raise NotFound(
            f"there is no data directory yet: {settings.data_dir} does not exist "
            f"(--data-dir names another)"
        )
    raise typer.Exit(absent())
