"""One instance, asked in its own process and over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from crawlyard.api.far import connect
from crawlyard.api.near import NearSurface
from crawlyard.core.access.user import LOCAL
from crawlyard.services.surface import Surface
from crawlyard.store.db.in_memory import open_in_memory
from tests.web.rig import BASE, Rig, a_rig, apps_are_used_again

__all__ = ["apps_are_used_again"]


@asynccontextmanager
async def far_side(rig: Rig) -> AsyncIterator[Surface]:
    """Connect to the application of *rig* as the admin."""
    async with connect(
        BASE, rig.secrets[LOCAL.id], transport=httpx.ASGITransport(rig.app)
    ) as surface:
        yield surface


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    new_rig = await a_rig(open_in_memory())
    yield new_rig
    await new_rig.close()


@pytest.fixture(params=["near", "far"])
async def yard(rig: Rig, request: pytest.FixtureRequest) -> AsyncIterator[Surface]:
    """The surface of the instance: everything is the same on both sides."""
    if request.param == "near":
        yield NearSurface(rig.yard.services, LOCAL)
        return
    async with far_side(rig) as surface:
        yield surface
