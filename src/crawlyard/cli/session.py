"""One command on a yard, from its settings to its exit code, and the event loop that it runs in."""

import contextlib
import gc
import shlex
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import typer
from pydantic import ValidationError
from rich.console import Console

from crawlyard.cli.client import Client, LocalClient
from crawlyard.cli.event_client import EventClient, LocalEvents
from crawlyard.cli.logs import log_to_stderr
from crawlyard.cli.options import Basics
from crawlyard.cli.schedule_client import LocalSchedules, ScheduleClient
from crawlyard.cli.stdout import whole_stdout
from crawlyard.cli.template_client import LocalTemplates, TemplateClient
from crawlyard.cli.webhook_client import LocalWebhooks, WebhookClient
from crawlyard.cli.words import printable
from crawlyard.config import Settings
from crawlyard.core.user import LOCAL
from crawlyard.errors import Invalid, NotFound
from crawlyard.yard import Yard

try:
    from uvloop import run as run_loop
except ImportError:  # where it has no build, asyncio's own loop does as well
    from asyncio import run as run_loop  # type: ignore[assignment]  # called alike here

DEFAULT_DATA_DIR = Path("crawlyard-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a command works with while its yard is open."""

    settings: Settings
    yard: Yard
    client: Client
    templates: TemplateClient
    schedules: ScheduleClient
    events: EventClient
    webhooks: WebhookClient
    out: Console  # stdout: data, nothing else
    err: Console  # stderr: progress, hints, questions
    quiet: bool = False

    def hint(self, command: str) -> str:
        """Return *command* as the user would type it to act on this same yard."""
        where = self.settings.data_dir
        elsewhere = "" if where == DEFAULT_DATA_DIR else f" --data-dir {shlex.quote(str(where))}"
        return f"crawlyard {command}{elsewhere}"

    def tell(self, sentence: str) -> None:
        """Write a sentence to stderr, unless the user asked for quiet or has gone."""
        if not self.quiet:
            with contextlib.suppress(OSError):
                told = printable(sentence)
                self.err.print(told, markup=False, highlight=False, soft_wrap=True)


Action: TypeAlias = Callable[[Session], Awaitable[int]]
"""What a command does with an open yard; it returns the exit code."""


def run(
    basics: Basics,
    action: Action,
    *,
    creates: bool = False,
    default_dir: Path | None = None,
    log_level: str | None = None,
    absent: Callable[[], int] | None = None,
) -> None:
    """Do *action* on the yard that settings and flags describe, and end the command.

    Without *creates*, a data directory that does not exist is not made: *absent* is
    done instead, or `NotFound` raised.

    Raises:
        typer.Exit: always, if nothing else is raised; with what *action* returned.
        CrawlyardError: what went wrong; `cli.app` turns it into a sentence and a code.
    """
    with _traced(debug=basics.debug):
        settings = settings_of(basics, default_dir)
        told = "log_level" in settings.model_fields_set
        log_to_stderr(settings.log_level if told or log_level is None else log_level)
        if not creates and _is_absent(settings):
            if absent is None:
                raise NotFound(
                    f"there is no job yet: the data directory "
                    f"{settings.data_dir} does not exist (--data-dir names another)"
                )
            raise typer.Exit(absent())
        code = 0
        # What was imported stays for good, and a crawl makes few cycles: looked at less
        # often, it takes 9 % less CPU (libboost1.88-doc, median of 5 in turns).
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        with whole_stdout():
            code = run_loop(_act(settings, basics, action))
        raise typer.Exit(code)


def settings_of(basics: Basics, default_dir: Path | None = None) -> Settings:
    """Return the settings, flags first.

    Raises:
        Invalid: a setting is out of range or unknown, wherever it was made.
    """
    given: dict[str, Any] = {}
    if basics.data_dir is not None:
        given["data_dir"] = basics.data_dir
    elif default_dir is not None:
        given["data_dir"] = default_dir
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        source = f"CRAWLYARD_{name.upper()} or {name} in crawlyard.toml"
        raise Invalid(name, f"{first['msg']}, got {first['input']!r} (from {source})") from None
    except ValueError as error:  # TOML that is none
        raise Invalid("crawlyard.toml", str(error)) from error


async def _act(settings: Settings, basics: Basics, action: Action) -> int:
    async with Yard.open(settings) as yard:
        session = Session(
            settings=settings,
            yard=yard,
            client=LocalClient(yard, LOCAL),
            templates=LocalTemplates(yard, LOCAL),
            schedules=LocalSchedules(yard, LOCAL),
            events=LocalEvents(yard, LOCAL),
            webhooks=LocalWebhooks(yard, LOCAL),
            out=Console(file=sys.stdout, highlight=False, soft_wrap=False),
            err=Console(file=sys.stderr, highlight=False),
            quiet=basics.quiet,
        )
        return await action(session)


def _is_absent(settings: Settings) -> bool:
    return not settings.database_url and not settings.data_dir.exists()


@contextlib.contextmanager
def _traced(*, debug: bool) -> Iterator[None]:
    """Show the traceback of an error where one is asked for, and unwrap what a task group made."""
    try:
        yield
    except typer.Exit:
        raise
    except BaseExceptionGroup as group:
        if debug:
            traceback.print_exc()
        raise _first(group) from None
    except Exception:
        if debug:
            traceback.print_exc()
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
