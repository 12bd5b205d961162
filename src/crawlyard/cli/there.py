"""Commands on a yard that is asked over HTTP."""

import shlex

from crawlyard.cli.http_accounts import HttpAccounts
from crawlyard.cli.http_events import HttpEvents
from crawlyard.cli.http_jobs import HttpClient
from crawlyard.cli.http_schedules import HttpSchedules
from crawlyard.cli.http_templates import HttpTemplates
from crawlyard.cli.http_watch import HttpWatch
from crawlyard.cli.http_webhooks import HttpWebhooks
from crawlyard.cli.logins import token_for
from crawlyard.cli.options import Basics
from crawlyard.cli.session import Action, Clients, Session, consoles
from crawlyard.client import AsyncClient, Server
from crawlyard.clock import SystemClock


async def act(url: str, basics: Basics, action: Action) -> int:
    """Return what *action* does with the yard at *url*.

    Raises:
        Invalid: the URL is none, or nothing proves who asks there.
    """
    server = Server(url=url, token=token_for(url))
    async with AsyncClient(server=server) as client:
        clients = Clients(
            jobs=HttpClient(client),
            templates=HttpTemplates(client),
            schedules=HttpSchedules(client),
            events=HttpEvents(client),
            webhooks=HttpWebhooks(client),
            watch=HttpWatch(client),
            accounts=HttpAccounts(client),
        )
        where = f" --server {shlex.quote(basics.server)}" if basics.server else ""
        session = Session(clients=clients, clock=SystemClock(), where=where, **consoles(basics))
        return await action(session)
