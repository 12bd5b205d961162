"""The near side: the surface of an instance in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
