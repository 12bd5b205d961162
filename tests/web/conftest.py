"""A server in this process for every test of this folder that asks for one."""

from collections.abc import AsyncIterator

import pytest

from crawlyard.store.memory import open_memory_store
from tests.conformance.conftest import backend, sqlite_template, store
from tests.web.rig import Rig, a_rig

__all__ = ["backend", "sqlite_template", "store"]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A server on a store in memory, with a token of the admin's."""
    made = await a_rig(open_memory_store())
    yield made
    await made.close()
