"""Fixtures for tests of several folders."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from psycopg import sql
from sqlalchemy.engine import make_url

from crawlyard.store.open import open_sql_store
from tests import compiled
from tests import redis_server as redis
from tests.leftovers import dropped, no_task_is_dropped, pytest_collection
from tests.postgres import NoPostgres, PostgresServer, a_server
from tests.stores import pytest_collection_modifyitems
from tests.times import pytest_terminal_summary, pytest_xdist_auto_num_workers

__all__ = [
    "dropped",
    "no_task_is_dropped",
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_terminal_summary",
    "pytest_xdist_auto_num_workers",
]

# by default, an example may take 200 ms: tests of rules fail by that on a busy machine
settings.register_profile(
    "crawlyard", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("crawlyard")
compiled.keep()

_numbers = count(1)

# connections that an earlier test has left open would block
_END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# truncating an unused table takes as long as a used one
_WRITTEN = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
      AND relname NOT IN ('alembic_version', 'users')
"""
_USERS = """
    DELETE FROM users WHERE id <> 'local';
    UPDATE users SET role = 'admin', quota = '{}', limited = false, disabled_at = NULL,
      version = 1, created_at = 0, updated_at = 0;
    INSERT INTO page_search_marks VALUES (1, 0, 0, '', 0, false)
"""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A Postgres of our own, which may be stopped and started again."""
    try:
        with a_server() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(f"no Postgres: {error}")


@pytest.fixture(scope="session")
def postgres_admin_url(request: pytest.FixtureRequest) -> str:
    """A database with the right to create others."""
    url = os.environ.get("CRAWLYARD_TEST_POSTGRES_URL")
    if url:
        return url
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url()


@pytest.fixture(scope="session")
def own_redis() -> Iterator[redis.RedisServer]:
    """A Redis of our own, which may be killed, stopped and started again."""
    try:
        with redis.a_server() as server:
            yield server
    except redis.NoRedis as error:
        pytest.skip(f"no Redis: {error}")


@pytest.fixture
def redis_server(own_redis: redis.RedisServer) -> Iterator[redis.RedisServer]:
    """Our own Redis; it is restarted for the next test if a test stops it."""
    own_redis.go_on()
    yield own_redis
    own_redis.go_on()


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis that other tests may be using."""
    url = os.environ.get("CRAWLYARD_TEST_REDIS_URL")
    if url:
        return url
    server: redis.RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_database(postgres_admin_url: str) -> AsyncIterator[str]:
    """A database with all tables, for all tests in turn."""
    with _database(postgres_admin_url, f"crawlyard_test_{os.getpid()}") as url:
        store = await open_sql_store(url)
        await store.close()
        yield url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def second_postgres_database(postgres_admin_url: str) -> AsyncIterator[str]:
    """A second database with all tables, for tests that need two."""
    with _database(postgres_admin_url, f"crawlyard_test_{os.getpid()}_second") as url:
        store = await open_sql_store(url)
        await store.close()
        yield url


@pytest.fixture
def postgres_url(postgres_database: str) -> str:
    """A database with all tables and no rows but the local user."""
    # a database of its own for each test would take six times as long
    return _emptied(postgres_database)


@pytest.fixture
def second_postgres_url(second_postgres_database: str) -> str:
    return _emptied(second_postgres_database)


def _emptied(url: str) -> str:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(_END_OTHERS)
        rows = admin.execute(_WRITTEN).fetchall()
        tables = sql.SQL(", ").join(sql.Identifier(name) for (name,) in rows)
        admin.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(tables))
        admin.execute(_USERS)
    return url


@pytest.fixture
def empty_postgres_url(postgres_admin_url: str) -> Iterator[str]:
    """A database without tables, for one test."""
    name = f"crawlyard_test_{os.getpid()}_{next(_numbers)}"
    with _database(postgres_admin_url, name) as url:
        yield url


@contextmanager
def _database(admin_url: str, name: str) -> Iterator[str]:
    database = sql.Identifier(name)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
    try:
        yield make_url(admin_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
