"""Command session: an instance, the options of the command, and its output."""

import contextlib
import shlex
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from msgspec import Struct, field

from crawlyard.cli.failures import MIXED, exit_code_of, failure_lines
from crawlyard.cli.options import OBJECTS, Basics, Common, Labels, Style
from crawlyard.cli.render import output
from crawlyard.cli.render.fields import pairs
from crawlyard.cli.render.output import M, Screen, View
from crawlyard.cli.render.words import printable
from crawlyard.cli.stdout import write_line
from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.errors import CrawlyardError, Invalid, Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from crawlyard.cli.server.deadline import Deadline
    from crawlyard.core.access.answers import NewShareOut, NewTokenOut, NewTriggerOut
    from crawlyard.core.instance import ReadyOut
    from crawlyard.core.purge_result import PurgeResult
    from crawlyard.services.surface import Surface
    from crawlyard.services.workers.worker import Worker
    from crawlyard.yard import Yard

T = TypeVar("T")
NewSecret = TypeVar("NewSecret", "NewShareOut", "NewTokenOut", "NewTriggerOut")

DEFAULT_DATA_DIR = Path("crawlyard-data")
_DEFAULT_LIMIT = 50  # items of a list on a terminal
LOCATION_SETTINGS = frozenset({"data_dir", "database_url"})
"""Settings that locate an instance."""


class Session(Struct, frozen=True, kw_only=True):
    """An open instance or server connection, with the options of a command."""

    common: Common = Common()  # the options of the command
    labels: Labels = Labels({}, {})  # names of API fields on the command line
    surface: "Surface"  # of the instance, local or remote
    ready: Callable[[], Awaitable["ReadyOut"]]  # raises Unavailable if the instance cannot work
    clock: Clock
    instance_options: str  # to select the same instance again, after a blank; may be empty
    stdout: Screen = field(default_factory=lambda: Screen(sys.stdout))  # data, nothing else
    stderr: Screen = field(default_factory=lambda: Screen(sys.stderr))  # progress, hints, questions
    worker_for: Callable[[str], "Worker"] | None = None  # for one job; None: workers are elsewhere
    deadline: "Deadline | None" = None  # for stopping such workers
    purge: Callable[[], Awaitable["PurgeResult"]] | None = None
    """Frees the space of deleted jobs; ``None``: the server does so later."""

    @property
    def err(self) -> "Console":
        """Console for stderr, also for questions."""
        return self.stderr.console

    @property
    def style(self) -> Style:
        """Output format.

        Raises:
            Invalid: two different formats were requested.
        """
        return self.common.style_on(terminal=self.stdout.is_terminal)

    @property
    def uses_api_format(self) -> bool:
        """True if records are written in the format of the API."""
        if self.common.quiet:
            return False
        return self.style in OBJECTS or self.common.fields is not None

    def list_limit(self, limit: int | None) -> int | None:
        """Return the maximum number of items of a list, given its ``--limit``; ``None``: all.

        Only a table on a terminal has a default limit: programs read everything.
        """
        for_people = self.stdout.is_terminal and not self.common.quiet and self.style is Style.TABLE
        return limit or (_DEFAULT_LIMIT if limit is None and for_people else None)

    async def write_list(self, items: AsyncIterable[M] | Iterable[M], view: View[M]) -> int:
        """Write *items* as a list, and return their number.

        Raises:
            Invalid: an item lacks a requested field.
        """
        return await output.write_all(items, view, self.style, self.stdout, self.common)

    async def show(self, item: M, view: View[M]) -> None:
        """Write one record: all facts of *view*, or in the format of the API.

        Raises:
            Invalid: it lacks a requested field.
        """
        if self.common.quiet:
            write_line(printable(view.key(item)))
        elif self.uses_api_format:
            self.write_record(item)
        elif self.style is Style.CSV and view.table:
            await self.write_list([item], view)
        else:
            output.write_facts(view.facts(item, self.style), self.style, self.stdout)

    def write_record(self, item: Struct) -> None:
        """Write one record in the format of the API, or its requested fields.

        Raises:
            Invalid: it lacks one of them.
        """
        if self.style in OBJECTS or self.common.fields is None:
            output.write_one(item, self.style, self.common.fields)
        else:
            output.write_facts([*pairs(self.common.fields, item)], self.style, self.stdout)

    async def write_changed_records(
        self, items: Sequence[M], view: View[M], *, single: bool = True
    ) -> None:
        """Write records after a change, if requested.

        If *single*, the only record is not written as a list.
        """
        if not self.common.writes_records:
            return
        if single and items and self.uses_api_format:
            self.write_record(items[0])
        else:
            await self.write_list(items, view)

    async def act_on_each(
        self,
        words: Sequence[str],
        act: Callable[[str], Awaitable[T]],
        describe: Callable[[T], str],
        *,
        find: Callable[[str], Awaitable[str]] | None = None,
        kind: str = "",
    ) -> tuple[int, list[T]]:
        """Act on each record that *words* mean; return the exit code, and the results of *act*.

        *find* returns the id of a record; ``None``: words are ids. *describe* returns the message
        that reports a result. If a record fails, its error is reported, with its *kind* if the
        error does not name it, and the others continue.
        """
        exit_codes: set[int] = set()
        results: list[T] = []
        for word in words:
            name = word
            try:
                name = word if find is None else await find(word)
                result = await act(name)
            except CrawlyardError as error:
                subject = f"{kind} {name}" if kind and name not in str(error) else ""
                labelled = self.labels.translate(error) if isinstance(error, Invalid) else error
                for line in failure_lines(labelled, subject):
                    self.err.print(line, markup=False, highlight=False, soft_wrap=True)
                exit_codes.add(exit_code_of(error))
                continue
            exit_codes.add(0)
            results.append(result)
            self.tell(describe(result))
        return (exit_codes.pop() if len(exit_codes) == 1 else MIXED if exit_codes else 0), results

    def confirm(
        self, question: str, details: Iterable[str], reason: str = "deleting cannot be undone"
    ) -> bool:
        """Ask for confirmation, below the lines *details*; *reason* says why it is needed.

        Raises:
            Invalid: there is no terminal.
        """
        if not sys.stdin.isatty():
            raise Invalid("--yes", f"{reason}; without a terminal to confirm on, pass --yes")
        for line in details:
            self.err.print(printable(line), markup=False, highlight=False)
        answer = self.err.input(f"{printable(question)} (y/N) ", markup=False)
        return answer.strip().lower() in {"y", "yes"}

    def confirm_deletion(
        self, nouns: str, details: Sequence[str], dependents: str, *, yes: bool
    ) -> bool:
        """Confirm the deletion of *nouns* ("webhooks"), and of *dependents*, deleted with them.

        *details* has a line for each record. With *yes*, no question is asked.

        Raises:
            Invalid: there is no terminal.
        """
        subject = f"this {nouns[:-1]}" if len(details) == 1 else f"these {len(details):,} {nouns}"
        if yes or self.confirm(f"Delete {subject} and {dependents}?", details):
            return True
        self.tell("nothing was deleted")
        return False

    async def show_secret(
        self, kind: str, created: NewSecret, view: View[NewSecret], sentence: str
    ) -> None:
        """Write a new token, trigger or share link below *sentence*, or only its secret.

        Raises:
            Unavailable: it was created before, and that response was lost: secrets are not stored.
        """
        if created.token is None:
            message = f"{kind} {created.name} was created, but the response with its token was lost"
            raise Unavailable(
                f"{message}; {self.full_command(f'{kind}s revoke {created.id}')}, and try again"
            )
        self.tell(sentence)
        if self.common.writes_records:
            await self.show(created, view)
        else:
            write_line(getattr(created, "share_url", None) or created.token)

    def full_command(self, command: str) -> str:
        """Return *command* as typed to act on this same instance."""
        return f"crawlyard {command}{self.instance_options}"

    def with_worker_hint(self, sentence: str) -> str:
        """Return a sentence about a worker, with the command that runs one here."""
        return f"{sentence}: {self.full_command('work')}" if self.worker_for else sentence

    def tell(self, sentence: str) -> None:
        """Write a sentence to stderr, unless `--quiet` is set or stderr is closed."""
        if not self.common.quiet:
            with contextlib.suppress(OSError):
                self.stderr.say(printable(sentence))

    def tell_list_end(
        self, count: int, limit: int | None, empty_message: str, part: str = "first"
    ) -> None:
        """Write *empty_message* if a list is empty, or that it was cut at *limit*.

        *count* is the number of its items, and *part* names the part of the list that is shown.
        """
        if not count:
            if empty_message:
                self.tell(empty_message)
        elif count == (max_count := self.list_limit(limit)):
            self.tell(f"the {part} {max_count:,} are shown; --limit 0 shows all")


class LocalSession(Session, frozen=True, kw_only=True):
    """A session with an instance in this process, which can also run workers."""

    settings: Settings
    yard: "Yard"
    deadline: "Deadline"  # for stopping its own workers, or all that the command runs


Action: TypeAlias = Callable[[Session], Awaitable[int | None]]
"""Command body for any instance, local or remote; it returns the exit code."""

LocalAction: TypeAlias = Callable[[LocalSession], Awaitable[int | None]]
"""Command body that needs a local instance."""


def load_settings(
    basics: Basics,
    default_dir: Path | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings; *flags* are those from options, by name, and take precedence.

    A data directory from an option takes precedence over a database URL of the
    environment or the file.

    *default_dir* is the data directory if neither a flag nor a setting names one. With it, the
    database is a file there, regardless of `database_url`.

    Raises:
        Invalid: a setting is out of range or unknown, in any source.
    """
    options: dict[str, Any] = {n: value for n, value in (flags or {}).items() if value is not None}
    if basics.data_dir is not None:  # also locates the database: a file in it
        options |= {"data_dir": basics.data_dir, "database_url": "", "database_direct_url": ""}

    def name_option(error: Invalid) -> Invalid:
        if (flags or {}).get(error.field) is None:
            return error
        return Invalid(f"--{error.field.replace('_', '-')}", error.message)

    try:
        settings = Settings(**options)
    except Invalid as error:
        raise error.map(name_option) from None
    if default_dir is None:
        return settings
    settings = settings.with_values(database_url="", database_direct_url="")
    if "data_dir" in settings.named:
        return settings
    return settings.with_values(data_dir=default_dir)


def data_dir_option(settings: Settings, basics: Basics) -> str:
    """Return the option that selects the same data directory again, after a blank.

    It is empty if commands use this instance without it.
    """
    if basics.data_dir is None and (settings.database_url or settings.data_dir == DEFAULT_DATA_DIR):
        return ""
    return f" --data-dir {shlex.quote(str(settings.data_dir))}"
