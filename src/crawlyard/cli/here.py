"""Commands on a yard that is opened in this process."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

from crawlyard.api.near import NearSurface
from crawlyard.cli.login import server_asked
from crawlyard.cli.logs import log_to_stderr
from crawlyard.cli.loop import finish, traced
from crawlyard.cli.options import Basics
from crawlyard.cli.server.deadline import GRACE_S, Deadline
from crawlyard.cli.session import (
    NO_FLAGS,
    Session,
    option_for,
    screens,
    settings_of,
)
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.answers.fleet.health import ReadyOut
from crawlyard.core.answers.fleet.upkeep import FreedOut
from crawlyard.errors import Invalid
from crawlyard.services.fleet.monitoring import ready
from crawlyard.yard import Yard


async def _purge(yard: Yard) -> FreedOut:
    """Free the space of deleted jobs now: nobody else may do it."""
    return FreedOut.of(await yard.jobs.purge(LOCAL))


async def _ready(yard: Yard) -> ReadyOut:
    await yard.store.check()
    return ready(await yard.bus.check())


class LocalSession(Session, frozen=True, kw_only=True):
    """A session on a yard of this process, which can do more than be asked: run workers."""

    settings: Settings
    yard: Yard
    deadline: Deadline  # of stops: of its own workers, or of all that the command does


LocalAction: TypeAlias = Callable[[LocalSession], Awaitable[int]]
"""What a command does that needs the yard itself."""


def run(
    basics: Basics,
    action: LocalAction,
    *,
    default_dir: Path | None = None,
    log_level: str | None = None,
    flags: Mapping[str, object] = NO_FLAGS,
) -> None:
    """Do *action* on the yard of this machine, made where there is none; end the command.

    *flags* are settings that the command line names, by their names; ``None``: not named.

    Raises:
        Invalid: a server is named: its yard is elsewhere.
        typer.Exit, CrawlyardError: as for `session.run`.
    """
    with traced(debug=basics.debug):
        url, given = server_asked(basics)
        if url:
            said = "this runs on a data directory or database of its own; leave the server out"
            raise Invalid(given, said)
        settings = settings_of(basics, default_dir, flags)
        told = "log_level" in settings.model_fields_set
        log_to_stderr(settings.log_level if told or log_level is None else log_level)
        finish(act(settings, basics, action))


async def act(settings: Settings, basics: Basics, action: LocalAction) -> int:
    """Open the yard that *settings* describe, and return what *action* does with it."""
    deadline = Deadline(settings.shutdown_s + GRACE_S)
    try:
        async with Yard.open(settings) as yard:
            return await action(_session(settings, basics, yard, deadline))
    finally:
        deadline.met()


def _session(settings: Settings, basics: Basics, yard: Yard, deadline: Deadline) -> LocalSession:
    return LocalSession(
        surface=NearSurface(yard.services, LOCAL),
        clock=yard.clock,
        where=option_for(settings.data_dir),
        settings=settings,
        yard=yard,
        ready=partial(_ready, yard),
        purge=partial(_purge, yard),
        worker=lambda job_id: deadline.of(yard.worker(only=job_id)),
        deadline=deadline,
        **screens(basics),
    )
