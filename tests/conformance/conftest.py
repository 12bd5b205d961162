"""Every store, one after the other, for every test of this folder that asks for one."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.conformance.older import give_an_older_schema

STORES = ("memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a store's data is: it may be opened again and again, also at the same time."""

    where: str  # empty: in memory, where a second `open` returns the same store
    memory: Store = field(default_factory=open_in_memory)

    @property
    def sql(self) -> bool:
        return bool(self.where)

    async def open(self) -> Store:
        return await open_sql_store(self.where) if self.where else self.memory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no rows: a copy of it takes a millisecond."""
    path: Path = tmp_path_factory.mktemp("template") / "crawlyard.db"
    store = await open_sql_store(path)
    await store.close()
    return path


@pytest.fixture
def older(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema that this program can upgrade: see `tests.conformance.older`."""
    give_an_older_schema(tmp_path_factory.mktemp("scripts"), monkeypatch)


@pytest.fixture(params=STORES)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """The data of an empty store."""
    match request.param:
        case "sqlite":
            template: Path = request.getfixturevalue("sqlite_template")
            return Backend(str(shutil.copy(template, tmp_path)))
        case "postgres":
            return Backend(request.getfixturevalue("postgres_url"))
        case _:
            return Backend("")


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    opened = await backend.open()
    yield opened
    await opened.close()
