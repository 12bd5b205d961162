"""The same surface, near and far."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crawlyard.api.far import far_surface
from crawlyard.client import AsyncClient
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.services.surface import Surface
from crawlyard.yard import Yard


@asynccontextmanager
async def open(  # noqa: A001 - `crawlyard.open`
    settings: Settings | None = None, actor: Actor = LOCAL
) -> AsyncIterator[Surface]:
    """Open an instance in this process, creating its store if there is none, for one actor.

    Without *settings*, they come from the environment and `crawlyard.toml`. Jobs run where a
    worker does: ``crawlyard work``, or `Yard.worker`.

    Raises:
        Invalid, StoreUnavailable, Unavailable, SchemaMismatch: as `Yard.open`.
    """
    async with Yard.open(settings) as yard:
        yield Surface(yard.services, actor)


@asynccontextmanager
async def connect(url: str | None = None, token: str | None = None) -> AsyncIterator[Surface]:
    """Connect to an instance that is served at *url*; *token* says who asks.

    Without them, ``CRAWLYARD_SERVER`` and ``CRAWLYARD_TOKEN`` say it. Nothing is sent before the
    first call.

    Raises:
        Invalid: nobody says where and who, or it cannot be right.
    """
    async with AsyncClient(url, token) as client:
        yield far_surface(client.calls)
