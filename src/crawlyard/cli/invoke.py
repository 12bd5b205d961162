"""Commands on an instance: in this process, or on a server."""

import asyncio
import contextlib
import functools
import inspect
import logging
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import typer
from msgspec import Struct
from msgspec.structs import replace

from crawlyard import clock as clocks
from crawlyard.cli.options import Basics, Command, Common, flatten
from crawlyard.cli.render.output import View
from crawlyard.cli.server import deadline
from crawlyard.cli.values import Ceiling
from crawlyard.core.access import user
from crawlyard.core.endpoints.endpoint import every
from crawlyard.errors import Invalid, NotFound, SchemaMismatch, StoreUnavailable
from crawlyard.lazy import lazily

# slow to load, and a command needs only some of them
with lazily():
    from crawlyard import yard as yards
    from crawlyard.api import connection, far, near, server
    from crawlyard.cli import login, logs, loop, session
    from crawlyard.services.instance import meta
    from crawlyard.services.upkeep import janitor
if TYPE_CHECKING:
    from crawlyard.cli.session import Action, LocalAction, LocalSession, Session
    from crawlyard.config import Settings

M = TypeVar("M", bound=Struct)
Declare: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]
"""Adds the command that a function without a body declares by its name, parameters and help."""

_SESSION = inspect.Parameter("session", inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TRY_AGAIN_S = 1.0  # while a database server does not respond

_log = logging.getLogger(__name__)


def action(
    *,
    basics: type[Basics] = Common,
    creates: bool | Callable[[Mapping[str, Any]], bool] = False,
    empty: bool = False,
    public: bool = False,
    **own: str,
) -> Callable[[Callable[..., Awaitable[int | None]]], Command]:
    """Make a command of a coroutine function whose first argument is a session.

    *basics* are the options that it takes beside its own; the session has them. Its result
    is the exit code. *creates*, *empty* and *public* are those of `run`; the first may depend on
    the options of the command. *own*: names of API fields on the command line, where no
    parameter has their name.
    """

    def decorate(act: Callable[..., Awaitable[int | None]]) -> Command:
        _, *options = inspect.signature(act).parameters.values()
        also = inspect.Parameter("basics", inspect.Parameter.KEYWORD_ONLY, annotation=basics)

        def call(*, basics: Basics, **options: Any) -> None:
            makes = creates(options) if callable(creates) else creates

            async def doing(session: "Session") -> int | None:
                return await act(replace(session, labels=labels), **options)

            run(basics, doing, creates=makes, empty=empty, public=public)

        command, labels = flatten(act, (*options, also), call, own)
        return command

    return decorate


class PlainCommands(Struct, Generic[M], frozen=True, kw_only=True):
    """Declares commands of one noun that need no code of their own.

    A command is declared by a function without a body: its name is that of the endpoint, its first
    parameter the subject of the command, and the others are parameters of the endpoint.
    """

    app: typer.Typer
    noun: str  # of the surface: "workers"
    view: Callable[[datetime], View[M]]
    find: Callable[["Session", str], Awaitable[str]] | None = None
    """Returns the id that a word means; ``None``: words are ids."""

    def list(self, none: str, *, first: str = "newest", empty: bool = False) -> Declare:
        """Declare a list; *none* is the message if it is empty, *first* names the part shown.

        *empty* is that of `invoke.run`.
        """

        async def act(session: "Session", _: str, **options: int | None) -> None:
            endpoint, limit = self._endpoint(session, "list"), options.get("limit", 0)
            if options:
                records: Any = every(endpoint, limit=session.list_limit(limit))
            else:  # the endpoint returns everything at once
                records = (await endpoint()).items
            count = await session.write_list(records, self.view(session.clock.now()))
            session.tell_list_end(count, limit, none, first)

        return self._declare(act, "list", empty=empty)

    def show(self) -> Declare:
        """Declare a command that shows all fields of one record."""

        async def act(session: "Session", _: str, word: str) -> None:
            name = word if self.find is None else await self.find(session, word)
            record = await self._endpoint(session, "get")(name)
            await session.show(record, self.view(session.clock.now()))

        return self._declare(act, "show")

    def change(self, done: str, *, edits: bool = False, **settings: Any) -> Declare:
        """Declare a command that changes one record, or several; *done* is its past participle.

        If it *edits*, it needs at least one option. *settings* are those of `action`.
        """

        async def act(
            session: "Session", verb: str, words: str | Sequence[str], **options: Any
        ) -> int:
            changes = {name: _value(value) for name, value in options.items() if value is not None}
            if edits and not changes:
                flags = ", ".join(session.labels.options[name] for name in options)
                raise Invalid(f"{self.noun} {verb}", f"expected something to change: {flags}")
            change = partial(self._endpoint(session, verb), **changes)
            return await self.change_each(
                session, [words] if isinstance(words, str) else words, change, done
            )

        return self._declare(act, **settings)

    async def change_each(
        self,
        session: "Session",
        words: Sequence[str],
        change: Callable[[str], Awaitable[M | None]],
        done: str,
    ) -> int:
        """Change each record that *words* mean; write them afterwards if requested."""
        view = self.view(session.clock.now())

        async def act(name: str) -> tuple[str, M | None]:
            record = await change(name)  # None: deleted
            return view.key(record) if record is not None else name, record

        code, results = await session.act_on_each(
            words,
            act,
            lambda result: f"{done}: {result[0]}",
            find=self.find and partial(self.find, session),
        )
        if not code:
            records = [record for _, record in results if record is not None]
            await session.write_changed_records(records, view, single=len(words) == 1)
        return code

    def _endpoint(self, session: "Session", name: str) -> Callable[..., Any]:
        endpoint: Callable[..., Any] = getattr(getattr(session.surface, self.noun), name)
        return endpoint

    def _declare(
        self, act: Callable[..., Awaitable[int | None]], name: str = "", **settings: Any
    ) -> Declare:
        def declare(declared: Callable[..., None]) -> Callable[..., None]:
            verb = name or declared.__name__.rstrip("_")
            parameters = inspect.signature(declared).parameters.values()
            arguments = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]

            @functools.wraps(declared)
            async def command(session: "Session", **options: Any) -> int | None:
                words = [options.pop(argument) for argument in arguments]
                return await act(session, verb, *words, **options)

            signature = inspect.Signature([_SESSION, *parameters])
            command.__signature__ = signature  # type: ignore[attr-defined]  # read by `action`
            self.app.command(verb)(action(**settings)(command))
            return declared

        return declare


def _value(value: Any) -> Any:
    """Return the value of an option for an endpoint: "none" becomes null, or an empty list."""
    if isinstance(value, list):
        return tuple(_value(item) for item in value if item != Ceiling(None))
    return value.value if isinstance(value, Ceiling) else value


def run(
    basics: Basics,
    act: "Action",
    *,
    creates: bool = False,
    empty: bool = False,
    public: bool = False,
) -> None:
    """Run *act* on the instance that settings and options select, and end the command.

    A missing data directory is created if the command *creates* something. If it
    lists what may be *empty*, the list is empty. If it is *public*, a server needs no token.

    Raises:
        NotFound: there is no data directory.
        typer.Exit: always, if nothing else is raised; with the result of *act*.
        CrawlyardError: the operation failed; `cli.main` turns it into a message and a code.
    """
    with loop.show_tracebacks(debug=basics.debug):
        settings = session.load_settings(basics)
        logs.log_to_stderr(settings.log_level, settings.log_format)
        url = login.server_named(basics, here=bool(settings.named & session.LOCATION_SETTINGS))
        if url:
            loop.finish(_far(url, basics, act, public=public))
        if not (creates or settings.database_url or settings.data_dir.exists()):
            if not empty:
                raise NotFound(
                    f"no data directory: {settings.data_dir} does not exist "
                    f"(use --data-dir to name another)"
                )
            settings = settings.with_values(database_url=yards.IN_MEMORY)
        loop.finish(_near(settings, basics, act))


def run_here(
    basics: Basics,
    act: "LocalAction",
    *,
    default_dir: Path | None = None,
    log_level: str | None = None,
    connections: int | None = None,
    flags: Mapping[str, object] | None = None,
    waits: bool = False,
) -> None:
    """Run *act* on the instance of this machine, creating it if missing; end the command.

    *log_level* and *connections* (to the database) apply unless a setting overrides them.
    If it *waits*, it waits for a database server that does not respond.
    *flags* are settings from the command line, by name; ``None``: not set.

    Raises:
        Invalid: a server is named: its instance is elsewhere.
        typer.Exit, CrawlyardError: as for `run`.
    """
    with loop.show_tracebacks(debug=basics.debug):
        check_here(basics)
        settings = session.load_settings(basics, default_dir, flags)
        has_log_level = "log_level" in settings.named
        if connections is not None and "database_connections" not in settings.named:
            settings = settings.with_values(database_connections=connections)
        level = settings.log_level if has_log_level or log_level is None else log_level
        logs.log_to_stderr(level, settings.log_format)
        loop.finish(_near(settings, basics, act, waits=waits))


def check_here(basics: Basics) -> None:
    """Check that no server is named: the command needs direct access to the database.

    Raises:
        Invalid: a server is named.
    """
    url, origin = login.server_asked(basics)
    if url:
        message = "this command needs a local data directory or database; leave the server out"
        raise Invalid(origin, message)


async def _near(
    settings: "Settings",
    basics: Basics,
    act: "Callable[[LocalSession], Awaitable[int | None]]",
    *,
    waits: bool = False,
) -> int | None:
    """Open the instance that *settings* describe, and return the result of *act*.

    If it *waits*, it waits for a database server that does not respond.
    """
    stops = deadline.Deadline(settings.shutdown_s + deadline.GRACE_S)
    try:
        async with contextlib.AsyncExitStack() as stack:
            opened = _patiently if waits else _open_yard
            yard = await opened(stack, settings)
            loop.freeze_objects()
            return await act(
                session.LocalSession(
                    common=_common(basics),
                    surface=near.NearSurface(yard.services, user.LOCAL),
                    clock=yard.clock,
                    instance_options=session.data_dir_option(settings, basics),
                    settings=settings,
                    yard=yard,
                    ready=partial(_ready, yard),
                    purge=partial(_purge, yard),
                    worker_for=lambda job_id: stops.watch(yard.worker(only=job_id)),
                    deadline=stops,
                )
            )
    finally:
        stops.cancel()


async def _open_yard(stack: contextlib.AsyncExitStack, settings: "Settings") -> "yards.Yard":
    return await stack.enter_async_context(yards.Yard.open(settings))


async def _patiently(stack: contextlib.AsyncExitStack, settings: "Settings") -> "yards.Yard":
    """Return the instance once its database responds and has its schema; log the wait.

    Raises:
        SchemaMismatch: it has another schema, which this process may not wait for.
        StoreUnavailable: its server rejects us.
    """
    last_message, answered = "", False
    while True:
        try:
            return await _open_yard(stack, settings)
        except SchemaMismatch as error:
            if settings.auto_upgrade:
                raise
            message = str(error)
        except StoreUnavailable as error:
            if answered:
                raise
            answered = not await yards.is_away(settings)  # it may have just come up
            if answered:
                continue
            message = str(error)
        if last_message != message:
            last_message = message
            _log.warning("%s; waiting for it", message)
        await asyncio.sleep(_TRY_AGAIN_S)


async def _ready(yard: "yards.Yard") -> Any:
    await yard.store.check()
    return meta.ready(await yard.bus.check())


async def _purge(yard: "yards.Yard") -> Any:
    """Free the space of deleted jobs now: no other process has the store open."""
    return await janitor.purge_all(yard.store.upkeep, yard.clock)


async def _far(url: str, basics: Basics, act: "Action", *, public: bool) -> int | None:
    """Return the result of *act* on the instance at *url*; a *public* one needs no token.

    Raises:
        Invalid: the URL is invalid, or there is no token for it.
    """
    there = server.Server(url=url, token=login.token_for(url, optional=public))
    async with connection.Connection(there) as connected:
        loop.freeze_objects()
        return await act(
            session.Session(
                common=_common(basics),
                surface=far.FarSurface(connected),
                ready=partial(far.ready, connected),
                clock=clocks.SystemClock(),
                instance_options=f" --server {shlex.quote(basics.server)}" if basics.server else "",
            )
        )


def _common(basics: Basics) -> Common:
    """Return the common options of a command, with defaults for those it does not take."""
    if isinstance(basics, Common):
        return basics
    return Common(**{name: getattr(basics, name) for name in Basics.__struct_fields__})
