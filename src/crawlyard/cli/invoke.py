"""Commands on an instance: in this process, or on a server."""

import asyncio
import contextlib
import inspect
import logging
import shlex
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from crawlyard.cli.options import Basics, Command, Common, flattened
from crawlyard.errors import Invalid, NotFound, StoreUnavailable
from crawlyard.lazy import lazily

# each loads much, and a command needs some of them
with lazily():
    from crawlyard import clock as clocks
    from crawlyard import yard as yards
    from crawlyard.api import connection, far, near, server
    from crawlyard.cli import login, logs, loop, session
    from crawlyard.cli.server import deadline
    from crawlyard.core.access import user
    from crawlyard.services.instance import meta
    from crawlyard.services.upkeep import janitor
if TYPE_CHECKING:
    from crawlyard.cli.session import Action, LocalAction, LocalSession, Session
    from crawlyard.config import Settings

_TRY_AGAIN_S = 1.0  # while a database server does not answer

_log = logging.getLogger(__name__)


def action(
    *,
    basics: type[Basics] = Common,
    creates: bool | Callable[[Mapping[str, Any]], bool] = False,
    empty: bool = False,
    **own: str,
) -> Callable[[Callable[..., Awaitable[int | None]]], Command]:
    """Make a command of a coroutine function, whose first argument is a session.

    *basics* are the options that it takes beside its own; the session has them. What it returns
    is the exit code. *creates* and *empty* are those of `run`; the first may depend on what the
    command is given. *own*: what fields of the API are called on the command line, where no
    parameter has their name.
    """

    def decorate(act: Callable[..., Awaitable[int | None]]) -> Command:
        _, *options = inspect.signature(act).parameters.values()
        also = inspect.Parameter("basics", inspect.Parameter.KEYWORD_ONLY, annotation=basics)

        def call(*, basics: Basics, **given: Any) -> None:
            makes = creates(given) if callable(creates) else creates

            async def doing(found: "Session") -> int | None:
                return await act(replace(found, labels=labels), **given)

            run(basics, doing, creates=makes, empty=empty)

        command, labels = flattened(act, (*options, also), call, own)
        return command

    return decorate


def run(basics: Basics, act: "Action", *, creates: bool = False, empty: bool = False) -> None:
    """Do *act* on the instance that settings and options name, and end the command.

    A data directory that does not exist is made if the command *creates* something. If it
    lists what may be *empty*, it finds nothing.

    Raises:
        NotFound: there is no data directory.
        typer.Exit: always, if nothing else is raised; with what *act* returned.
        CrawlyardError: what went wrong; `cli.main` turns it into a sentence and a code.
    """
    with loop.traced(debug=basics.debug):
        settings = session.settings_of(basics)
        logs.log_to_stderr(settings.log_level, settings.log_format)
        url = login.server_named(basics, here=bool(settings.named & session.PLACES))
        if url:
            loop.finish(_far(url, basics, act))
        if not (creates or settings.database_url or settings.data_dir.exists()):
            if not empty:
                raise NotFound(
                    f"there is no data directory yet: {settings.data_dir} does not exist "
                    f"(--data-dir names another)"
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
    """Do *act* on the instance of this machine, made where there is none; end the command.

    *log_level* and *connections* (to the database) hold unless a setting says otherwise.
    If it *waits*, it does so for a database server that does not answer.
    *flags* are settings that the command line names, by their names; ``None``: not named.

    Raises:
        Invalid: a server is named: its instance is elsewhere.
        typer.Exit, CrawlyardError: as for `run`.
    """
    with loop.traced(debug=basics.debug):
        check_here(basics)
        settings = session.settings_of(basics, default_dir, flags)
        told = "log_level" in settings.named
        if connections is not None and "database_connections" not in settings.named:
            settings = settings.with_values(database_connections=connections)
        level = settings.log_level if told or log_level is None else log_level
        logs.log_to_stderr(level, settings.log_format)
        loop.finish(_near(settings, basics, act, waits=waits))


def check_here(basics: Basics) -> None:
    """Check that no server is named: the command needs the database itself.

    Raises:
        Invalid: one is.
    """
    url, given = login.server_asked(basics)
    if url:
        said = "this runs on a data directory or database of its own; leave the server out"
        raise Invalid(given, said)


async def _near(
    settings: "Settings",
    basics: Basics,
    act: "Callable[[LocalSession], Awaitable[int | None]]",
    *,
    waits: bool = False,
) -> int | None:
    """Open the instance that *settings* describe, and return what *act* does with it.

    If it *waits*, it does so for a database server that does not answer.
    """
    stops = deadline.Deadline(settings.shutdown_s + deadline.GRACE_S)
    try:
        async with contextlib.AsyncExitStack() as stack:
            opened = _patiently if waits else _opened
            yard = await opened(stack, settings)
            loop.loaded()
            return await act(
                session.LocalSession(
                    common=_common(basics),
                    surface=near.NearSurface(yard.services, user.LOCAL),
                    clock=yard.clock,
                    where=session.option_for(settings, basics),
                    settings=settings,
                    yard=yard,
                    ready=partial(_ready, yard),
                    purge=partial(_purge, yard),
                    worker=lambda job_id: stops.of(yard.worker(only=job_id)),
                    deadline=stops,
                )
            )
    finally:
        stops.met()


async def _opened(stack: contextlib.AsyncExitStack, settings: "Settings") -> "yards.Yard":
    return await stack.enter_async_context(yards.Yard.open(settings))


async def _patiently(stack: contextlib.AsyncExitStack, settings: "Settings") -> "yards.Yard":
    """Return the instance once its database server answers; log what is waited for."""
    told, answered = "", False
    while True:
        try:
            return await _opened(stack, settings)
        except StoreUnavailable as error:
            if answered:
                raise  # it refuses us
            answered = not await yards.is_away(settings)  # perhaps only since a moment ago
            if not answered:
                if told != str(error):
                    told = str(error)
                    _log.warning("%s; waiting for it", told)
                await asyncio.sleep(_TRY_AGAIN_S)


async def _ready(yard: "yards.Yard") -> Any:
    await yard.store.check()
    return meta.ready(await yard.bus.check())


async def _purge(yard: "yards.Yard") -> Any:
    """Free the space of deleted jobs now: nobody else may do it."""
    return await janitor.purged(yard.store.upkeep, yard.clock)


async def _far(url: str, basics: Basics, act: "Action") -> int | None:
    """Return what *act* does with the instance at *url*.

    Raises:
        Invalid: the URL is none, or nothing proves who asks there.
    """
    there = server.Server(url=url, token=login.token_for(url))
    async with connection.Connection(there) as connected:
        loop.loaded()
        return await act(
            session.Session(
                common=_common(basics),
                surface=far.FarSurface(connected),
                ready=partial(far.ready, connected),
                clock=clocks.SystemClock(),
                where=f" --server {shlex.quote(basics.server)}" if basics.server else "",
            )
        )


def _common(basics: Basics) -> Common:
    """Return the options of a command, also one that takes not all of them."""
    if isinstance(basics, Common):
        return basics
    return Common(**{name: getattr(basics, name) for name in Basics.__struct_fields__})
