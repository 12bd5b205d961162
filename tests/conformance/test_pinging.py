"""Connections to Postgres that have rested are tried before they are used."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from crawlyard.store.db.postgres import IDLE_S, ping_idle
from tests.clock import FakeClock

LONG = timedelta(seconds=IDLE_S)

pytestmark = pytest.mark.postgres

ME = text("SELECT pg_backend_pid()")
END_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


@pytest.fixture
async def new_engine(postgres_url: str) -> AsyncIterator[Callable[[], AsyncEngine]]:
    """Pools of one connection each."""
    engines: list[AsyncEngine] = []

    def make() -> AsyncEngine:
        where = make_url(postgres_url).set(drivername="postgresql+psycopg")
        engines.append(create_async_engine(where, pool_size=1, max_overflow=0))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.dispose()


async def session(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        pid: int = (await connection.execute(ME)).scalar_one()
        return pid


async def end_others(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(END_OTHERS)


async def test_one_that_was_ended_while_it_rested_is_replaced(
    new_engine: Callable[[], AsyncEngine],
) -> None:
    engine, other, clock = new_engine(), new_engine(), FakeClock()
    ping_idle(engine.sync_engine, clock)
    before = await session(engine)

    await end_others(other)
    await clock.advance(LONG)

    assert await session(engine) != before


async def test_one_that_has_just_been_used_is_used_again_without_a_question(
    new_engine: Callable[[], AsyncEngine],
) -> None:
    engine, other, clock = new_engine(), new_engine(), FakeClock()
    ping_idle(engine.sync_engine, clock)
    before = await session(engine)
    assert await session(engine) == before

    await end_others(other)

    with pytest.raises(OperationalError):  # the transaction itself notices
        await session(engine)
    assert await session(engine) != before


async def test_one_that_answers_is_kept(new_engine: Callable[[], AsyncEngine]) -> None:
    engine, connected, clock = new_engine(), list[object](), FakeClock()
    event.listen(engine.sync_engine, "connect", lambda _, record: connected.append(record))
    ping_idle(engine.sync_engine, clock)
    before = await session(engine)

    await clock.advance(LONG)

    assert await session(engine) == before
    assert len(connected) == 1
