"""One command on a yard, from its settings to its exit code."""

import contextlib
import os
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
from crawlyard.config import PREFIX, Settings
from crawlyard.core.parse import unknown
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from rich.console import Console

    from crawlyard.cli.server.deadline import Deadline
    from crawlyard.core.answers.fleet.health import ReadyOut
    from crawlyard.core.answers.fleet.upkeep import FreedOut
    from crawlyard.services.surface import Surface
    from crawlyard.services.worker.worker import Worker

DEFAULT_DATA_DIR = Path("crawlyard-data")
NO_FLAGS: Mapping[str, object] = MappingProxyType({})
PLACES = frozenset({"data_dir", "database_url"})
"""The settings that say where a yard is kept."""


class Session(Struct, frozen=True, kw_only=True):
    """What a command works with while its yard is open, or its server is asked."""

    surface: "Surface"  # of the instance, wherever that is
    ready: Callable[[], Awaitable["ReadyOut"]]  # raises Unavailable if the instance cannot work
    clock: Clock
    where: str  # options that name the same yard again, or nothing
    stdout: Screen  # data, nothing else
    stderr: Screen  # progress, hints, questions
    quiet: bool = False
    worker: Callable[[str], "Worker"] | None = None  # for one job; None: workers are elsewhere
    deadline: "Deadline | None" = None  # of the stops of such workers
    purge: Callable[[], Awaitable["FreedOut"]] | None = None
    """Frees the space of deleted jobs; ``None``: the server does so in a while."""

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
        source = f"{PREFIX}{name.upper()} or {name} in crawlyard.toml"
        if first["type"] == "extra_forbidden":
            variable = f"{PREFIX}{name.upper()}"
            if variable in os.environ:
                known = [f"{PREFIX}{each.upper()}" for each in Settings.model_fields]
                raise unknown(variable, variable, known, "setting") from None
            raise unknown(name, name, [*Settings.model_fields], "setting") from None
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
