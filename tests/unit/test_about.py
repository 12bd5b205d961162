"""What Crawlyard says about its own package."""

import re
import sys
from collections.abc import Awaitable, Callable

import pytest

from crawlyard.config import Settings
from crawlyard.errors import CrawlyardError
from crawlyard.export.base import Format
from crawlyard.export.plan import check_installed
from crawlyard.store.admin.place import DatabaseLocation, reading
from crawlyard.store.open import open_sql_store
from crawlyard.yard import Yard

POSTGRES = "postgresql://127.0.0.1:1/none"


async def parquet() -> None:
    check_installed(Format.PARQUET)


async def warc() -> None:
    check_installed(Format.WARC)


async def postgres() -> None:
    await open_sql_store(POSTGRES)


async def copy_of_postgres() -> None:
    with reading(DatabaseLocation.of(POSTGRES)):
        pass


async def redis() -> None:
    async with Yard.open(Settings(redis_url="redis://127.0.0.1:1", database_url="memory://")):
        pass


@pytest.mark.parametrize(
    ("use", "missing", "packages"),
    [
        (parquet, "pyarrow", ["pyarrow"]),
        (warc, "warcio", ["warcio"]),
        (postgres, "psycopg", ["procrastinate", "psycopg[binary]"]),
        (copy_of_postgres, "psycopg", ["procrastinate", "psycopg[binary]"]),
        (redis, "redis", ["redis[hiredis]"]),
    ],
)
async def test_what_is_not_installed_is_installed_by_the_names_of_its_packages(
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[], Awaitable[None]],
    missing: str,
    packages: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(CrawlyardError) as refused:
        await use()
    words = str(refused.value).partition("pip install ")[2].split()
    assert [re.split("[<>]", word.strip("'"))[0] for word in words] == packages
