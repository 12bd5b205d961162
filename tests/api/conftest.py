"""One instance, asked in its own process and over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from crawlyard.api.far import far_surface
from crawlyard.client import AsyncClient, Server
from crawlyard.core.access.user import LOCAL
from crawlyard.services.surface import Surface
from crawlyard.store.db.in_memory import open_in_memory
from tests.web.rig import BASE, Rig, a_rig, apps_are_used_again

__all__ = ["apps_are_used_again"]


@asynccontextmanager
async def far_side(rig: Rig) -> AsyncIterator[Surface]:
    """Connect to the application of *rig* as the admin."""
    server = Server(url=BASE, token=rig.secrets[LOCAL.id])
    async with AsyncClient(server=server, transport=httpx.ASGITransport(rig.app)) as client:
        yield far_surface(client.calls)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = await a_rig(open_in_memory())
    yield made
    await made.close()


@pytest.fixture(params=["near", "far"])
async def yard(rig: Rig, request: pytest.FixtureRequest) -> AsyncIterator[Surface]:
    """The surface of the instance: everything is the same on both sides."""
    if request.param == "near":
        yield Surface(rig.yard.services, LOCAL)
        return
    async with far_side(rig) as surface:
        yield surface
