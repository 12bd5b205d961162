"""Commands on a yard that is asked over HTTP."""

import shlex
from functools import partial

from crawlyard.api.connection import Connection
from crawlyard.api.far import FarSurface, ready
from crawlyard.api.server import Server
from crawlyard.cli.login import token_for
from crawlyard.cli.options import Basics
from crawlyard.cli.session import Action, Session, screens
from crawlyard.clock import SystemClock


async def act(url: str, basics: Basics, action: Action) -> int:
    """Return what *action* does with the yard at *url*.

    Raises:
        Invalid: the URL is none, or nothing proves who asks there.
    """
    async with Connection(Server(url=url, token=token_for(url))) as connection:
        where = f" --server {shlex.quote(basics.server)}" if basics.server else ""
        session = Session(
            surface=FarSurface(connection),
            ready=partial(ready, connection),
            clock=SystemClock(),
            where=where,
            **screens(basics),
        )
        return await action(session)
