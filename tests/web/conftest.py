"""A server in this process for every test of this folder that asks for one."""

from collections.abc import AsyncIterator

import pytest

from crawlyard.store.db.in_memory import open_in_memory
from tests.conformance.conftest import backend, sqlite_template, store
from tests.web.rig import Rig, a_rig, apps_are_used_again

__all__ = ["apps_are_used_again", "backend", "sqlite_template", "store"]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A server on a store in memory, with a token of the admin's."""
    new_rig = await a_rig(open_in_memory())
    yield new_rig
    await new_rig.close()
