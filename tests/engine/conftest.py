"""Fixtures of the tests that crawl."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crawlyard import Yard
from tests.engine.clients import make
from tests.engine.raw import raw_server
from tests.engine.rig import opened
from tests.proxies import a_proxy
from tests.site import site_server

__all__ = ["a_proxy", "make", "raw_server", "site_server"]


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    """A yard whose database is in memory."""
    async with opened(tmp_path) as yard:
        yield yard


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])]
)
def database_url(request: pytest.FixtureRequest) -> str:
    """The database of a yard, one kind after the other; empty: a file of its own."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
