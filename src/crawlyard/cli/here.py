"""Commands on a yard that is opened in this process."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from crawlyard.cli.local_accounts import LocalAccounts
from crawlyard.cli.local_events import LocalEvents
from crawlyard.cli.local_jobs import LocalClient
from crawlyard.cli.local_schedules import LocalSchedules
from crawlyard.cli.local_templates import LocalTemplates
from crawlyard.cli.local_watch import LocalWatch
from crawlyard.cli.local_webhooks import LocalWebhooks
from crawlyard.cli.logs import log_to_stderr
from crawlyard.cli.options import Basics
from crawlyard.cli.session import (
    SERVER,
    Clients,
    Session,
    consoles,
    finish,
    option_for,
    server_named,
    settings_of,
    traced,
)
from crawlyard.config import Settings
from crawlyard.core.user import LOCAL
from crawlyard.errors import Invalid
from crawlyard.yard import Yard


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSession(Session):
    """A session on a yard of this process, which can do more than be asked: run workers."""

    settings: Settings
    yard: Yard


LocalAction: TypeAlias = Callable[[LocalSession], Awaitable[int]]
"""What a command does that needs the yard itself."""


def run(
    basics: Basics,
    action: LocalAction,
    *,
    default_dir: Path | None = None,
    log_level: str | None = None,
) -> None:
    """Do *action* on the yard of this machine, made where there is none; end the command.

    Raises:
        Invalid: a server is named: its yard is elsewhere.
        typer.Exit, CrawlyardError: as for `session.run`.
    """
    with traced(debug=basics.debug):
        if server_named(basics):
            given = "--server" if basics.server else SERVER
            said = "this runs on a data directory or database of its own; leave the server out"
            raise Invalid(given, said)
        settings = settings_of(basics, default_dir)
        told = "log_level" in settings.model_fields_set
        log_to_stderr(settings.log_level if told or log_level is None else log_level)
        finish(act(settings, basics, action))


async def act(settings: Settings, basics: Basics, action: LocalAction) -> int:
    """Open the yard that *settings* describe, and return what *action* does with it."""
    async with Yard.open(settings) as yard:
        clients = Clients(
            jobs=LocalClient(yard, LOCAL),
            templates=LocalTemplates(yard, LOCAL),
            schedules=LocalSchedules(yard, LOCAL),
            events=LocalEvents(yard, LOCAL),
            webhooks=LocalWebhooks(yard, LOCAL),
            watch=LocalWatch(yard, LOCAL),
            accounts=LocalAccounts(yard, LOCAL),
        )
        session = LocalSession(
            clients=clients,
            clock=yard.clock,
            where=option_for(settings.data_dir),
            settings=settings,
            yard=yard,
            worker=lambda job_id: yard.worker(only=job_id),
            **consoles(basics),
        )
        return await action(session)
