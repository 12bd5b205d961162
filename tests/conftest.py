"""Fixtures that tests of several folders ask for."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from sqlalchemy.engine import make_url

from crawlyard.store.sql import open_sql_store
from tests.postgres import NoPostgres, Server, a_server

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A Postgres of our own, which may be stopped and started again."""
    try:
        with a_server() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(f"no Postgres: {error}")


@pytest.fixture(scope="session")
def postgres_admin_url(request: pytest.FixtureRequest) -> str:
    """A database from which others may be made."""
    given = os.environ.get("CRAWLYARD_TEST_POSTGRES_URL")
    if given:
        return given
    server: Server = request.getfixturevalue("postgres_server")
    return server.url()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_template(postgres_admin_url: str) -> AsyncIterator[str]:
    """The name of a database with all tables and no rows: a copy of it takes 20 ms."""
    name = f"crawlyard_test_{os.getpid()}"
    with _database(postgres_admin_url, name, "template0") as url:
        store = await open_sql_store(url)
        await store.close()
        yield name


@pytest.fixture
def postgres_url(postgres_admin_url: str, postgres_template: str) -> Iterator[str]:
    """A database with all tables and no rows, for one test."""
    name = f"{postgres_template}_{next(_numbers)}"
    with _database(postgres_admin_url, name, postgres_template) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_admin_url: str) -> Iterator[str]:
    """A database without tables, for one test."""
    name = f"crawlyard_test_{os.getpid()}_{next(_numbers)}"
    with _database(postgres_admin_url, name, "template0") as url:
        yield url


@contextmanager
def _database(admin_url: str, name: str, template: str) -> Iterator[str]:
    made, source = sql.Identifier(name), sql.Identifier(template)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(made, source))
    try:
        yield make_url(admin_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))
