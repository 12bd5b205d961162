"""Servers in this process, without bridges and with Firecrawl's."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from msgspec import structs

from crawlyard.config import BridgeName
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.app import create_app
from tests.site import site_server
from tests.web.rig import Rig, a_rig

__all__ = ["site_server"]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A server without bridges on a store in memory, with a token of the admin's."""
    new_rig = await a_rig(open_in_memory())
    yield new_rig
    await new_rig.close()


@pytest.fixture
def bridged(rig: Rig) -> Rig:
    """The same server with Firecrawl's bridge."""
    options = structs.replace(rig.site.options, bridges=(BridgeName.FIRECRAWL,))
    site = structs.replace(rig.site, options=options)
    app = create_app(site)
    app.state.site = site
    return replace(rig, site=site, app=app)
