"""One command on a yard, from its settings to its exit code."""

import contextlib
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct
from pydantic import ValidationError

from crawlyard.cli.options import Basics
from crawlyard.cli.render.output import Screen
from crawlyard.cli.render.words import printable
from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console

    from crawlyard.cli.access.account_client import AccountClient
    from crawlyard.cli.fleet.fleet_client import FleetClient
    from crawlyard.cli.jobs.client import Client
    from crawlyard.cli.overview.event_client import EventClient
    from crawlyard.cli.overview.watch_client import WatchClient
    from crawlyard.cli.schedules.schedule_client import ScheduleClient
    from crawlyard.cli.server.deadline import Deadline
    from crawlyard.cli.templates.template_client import TemplateClient
    from crawlyard.cli.webhooks.webhook_client import WebhookClient
    from crawlyard.services.surface import Surface
    from crawlyard.services.worker.worker import Worker

DEFAULT_DATA_DIR = Path("crawlyard-data")
NO_FLAGS: Mapping[str, object] = MappingProxyType({})
PLACES = frozenset({"data_dir", "database_url"})
"""The settings that say where a yard is kept."""


class Clients(Struct, frozen=True, kw_only=True):
    """What makes what commands ask, kind by kind; none is loaded before it is called."""

    jobs: Callable[[], "Client"]
    templates: Callable[[], "TemplateClient"]
    schedules: Callable[[], "ScheduleClient"]
    events: Callable[[], "EventClient"]
    webhooks: Callable[[], "WebhookClient"]
    watch: Callable[[], "WatchClient"]
    fleet: Callable[[], "FleetClient"]
    accounts: Callable[[], "AccountClient"]


class Session(Struct, frozen=True, kw_only=True):
    """What a command works with while its yard is open, or its server is asked."""

    surface: "Surface"  # of the instance, wherever that is
    clients: Clients
    clock: Clock
    where: str  # options that name the same yard again, or nothing
    stdout: Screen  # data, nothing else
    stderr: Screen  # progress, hints, questions
    quiet: bool = False
    worker: Callable[[str], "Worker"] | None = None  # for one job; None: workers are elsewhere
    deadline: "Deadline | None" = None  # of the stops of such workers

    @property
    def out(self) -> "Console":
        """Return what writes data to stdout."""
        return self.stdout.console

    @property
    def err(self) -> "Console":
        """Return what writes to stderr, and asks there."""
        return self.stderr.console

    def check_can_ask(self, why: str = "deleting cannot be undone") -> None:
        """Check that a question can be answered.

        Raises:
            Invalid: there is no terminal; *why* says what the question is about.
        """
        if not sys.stdin.isatty():
            raise Invalid("--yes", f"{why}; there is no terminal to ask on: pass --yes")

    @property
    def client(self) -> "Client":
        """Return what is asked about jobs."""
        return self.clients.jobs()

    @property
    def templates(self) -> "TemplateClient":
        """Return what is asked about templates."""
        return self.clients.templates()

    @property
    def schedules(self) -> "ScheduleClient":
        """Return what is asked about schedules."""
        return self.clients.schedules()

    @property
    def events(self) -> "EventClient":
        """Return what is asked about events."""
        return self.clients.events()

    @property
    def webhooks(self) -> "WebhookClient":
        """Return what is asked about webhooks."""
        return self.clients.webhooks()

    @property
    def fleet(self) -> "FleetClient":
        """Return what is asked about workers and hosts."""
        return self.clients.fleet()

    def hint(self, command: str) -> str:
        """Return *command* as the user would type it to act on this same yard."""
        return f"crawlyard {command}{self.where}"

    def by_worker(self, sentence: str) -> str:
        """Return a sentence about what a worker does, with the command that runs one here."""
        return f"{sentence}: {self.hint('work')}" if self.worker else sentence

    def tell(self, sentence: str) -> None:
        """Write a sentence to stderr, unless the user asked for quiet or has gone."""
        if not self.quiet:
            with contextlib.suppress(OSError):
                self.stderr.say(printable(sentence))


Action: TypeAlias = Callable[[Session], Awaitable[int]]
"""What a command does with a yard, wherever that is; it returns the exit code."""


def settings_of(
    basics: Basics, default_dir: Path | None = None, flags: Mapping[str, object] = NO_FLAGS
) -> Settings:
    """Return the settings, flags first: those of *flags* are a command's own, by their names.

    *default_dir* is the data directory where neither a flag nor a setting names one.

    Raises:
        Invalid: a setting is out of range or unknown, wherever it was made.
    """
    given: dict[str, Any] = {name: said for name, said in flags.items() if said is not None}
    if basics.data_dir is not None:
        given["data_dir"] = basics.data_dir
    try:
        settings = Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if flags.get(name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise Invalid(flag, f"{first['msg']}, got {first['input']!r}") from None
        source = f"CRAWLYARD_{name.upper()} or {name} in crawlyard.toml"
        raise Invalid(name, f"{first['msg']}, got {first['input']!r} (from {source})") from None
    except ValueError as error:  # TOML that is none
        raise Invalid("crawlyard.toml", str(error)) from error
    if default_dir is None or "data_dir" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"data_dir": default_dir})


def option_for(data_dir: Path) -> str:
    """Return the option that names a data directory again, with a blank in front."""
    return "" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {shlex.quote(str(data_dir))}"


def screens(basics: Basics) -> dict[str, Any]:
    """Return where a session writes to, as its fields."""
    return {
        "stdout": Screen(sys.stdout),
        "stderr": Screen(sys.stderr),
        "quiet": basics.quiet,
    }
