"""On Postgres, rows appended by several transactions are numbered and added up by readers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, make_url

from crawlyard.core.access.user import day_of
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.limits import Usage
from crawlyard.store.access.usage import add_usage
from crawlyard.store.crawl import frontier
from crawlyard.store.events.numbering import number
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_target, done, its_event
from tests.builders_webhooks import stored_webhook
from tests.conformance.steps import added, claimed, recorded
from tests.conformance.test_lock_order import somebody_waits

pytestmark = pytest.mark.postgres

SOON_S = 20.0
TODAY = day_of(NOW)


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    opened = await open_sql_store(postgres_url)
    yield opened
    await opened.close()


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    """Give a transaction of another process, which commits at the end of the block."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as conn:
        yield conn
    engine.dispose()


def add_event(conn: Connection, owner: str) -> Event:
    """Add an event of *owner* in an open transaction."""
    event = its_event(a_job(owner=owner))
    add_events(conn, [event])
    return event


async def owners(store: Store, after: int = 0) -> list[str]:
    """Return whose events come after a number, in order."""
    return [event.owner for event in await store.events.events(after=after)]


async def test_a_long_transaction_delays_its_own_events_and_no_others(
    store: Store, postgres_url: str
) -> None:
    with transaction(postgres_url) as long:
        add_event(long, "long")
        async with asyncio.timeout(SOON_S):
            await added(store, a_job(owner="short"))
            first = await owners(store)
        last_seq = await store.events.last()
        await added(store, a_job(owner="later"))
        then = await owners(store, after=last_seq)
        last_seq = await store.events.last()

    assert (first, then) == (["short"], ["later"])
    assert await owners(store, after=last_seq) == ["long"]
    assert await owners(store) == ["short", "later", "long"]


async def test_transactions_are_numbered_in_the_order_of_their_commits(
    store: Store, postgres_url: str
) -> None:
    last_seq, owners_read = 0, []
    with transaction(postgres_url) as first:
        add_event(first, "began first")
        with transaction(postgres_url) as second:
            add_event(second, "began second")
            add_event(second, "began second, too")
        owners_read += await owners(store, last_seq)
        last_seq = await store.events.last()
    owners_read += await owners(store, last_seq)

    assert owners_read == ["began second", "began second, too", "began first"]
    assert owners_read == await owners(store)


async def test_unread_events_are_in_the_order_in_which_they_were_written(
    store: Store,
) -> None:
    names = [f"owner{n}" for n in range(30)]
    for name in names:
        await added(store, a_job(owner=name))

    assert await owners(store) == names


async def test_a_reader_waits_for_another_that_numbers_and_sees_what_that_one_has_numbered(
    store: Store, postgres_url: str
) -> None:
    await added(store)
    await added(store)

    with transaction(postgres_url) as other:
        highest = number(other)
        last = asyncio.create_task(store.events.last())
        await somebody_waits(postgres_url)

    assert await last == highest == 2
    assert [event.seq for event in await store.events.events()] == [1, 2]


async def test_nothing_is_locked_where_there_is_nothing_to_number(
    store: Store, postgres_url: str
) -> None:
    await added(store)
    with transaction(postgres_url) as other:
        locked = [number(other), _locks(postgres_url)]
    with transaction(postgres_url) as other:
        free = [number(other), _locks(postgres_url)]

    assert (locked, free) == ([1, 1], [1, 0])


def _locks(url: str) -> int:
    with psycopg.connect(url) as conn:
        lock_query = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        mine = f"{lock_query} WHERE locktype = 'advisory' AND datname = current_database()"
        [(count,)] = conn.execute(mine.encode()).fetchall()
        return int(count)


async def test_a_new_webhook_gets_only_events_committed_after_it(
    store: Store, postgres_url: str
) -> None:
    with transaction(postgres_url) as long:
        late = add_event(long, "local")
        await added(store)
        webhook = await stored_webhook(store)

    assert await store.deliveries.fan_out(NOW) > 0
    sent = await store.deliveries.find(webhook.id, None, None, 10)
    subjects = [each.subject for each in await store.deliveries.events(sent) if each is not None]
    assert subjects == [late.subject]


async def test_checkpoints_of_one_owner_do_not_wait_for_each_other(
    store: Store, postgres_url: str
) -> None:
    lease = (await claimed(store)).lease
    target = a_target()

    with transaction(postgres_url) as other:
        add_usage(other, {"local": Usage(pages=2, bytes=20)}, TODAY)
        async with asyncio.timeout(SOON_S):
            await recorded(store, lease, a_batch([target], [done(target, bytes=7)]))
        before = await store.users.day("local", TODAY)

    assert before == Usage(pages=1, bytes=7)
    assert await store.users.day("local", TODAY) == Usage(pages=3, bytes=27)


async def test_usage_is_added_up_after_some_checkpoints(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier, "ADD_UP_AFTER", 3)
    lease, steps = (await claimed(store)).lease, []

    with psycopg.connect(postgres_url, autocommit=True) as conn:
        for n in range(3):
            target = a_target(str(n))
            batch = a_batch([target], [done(target)])
            lease = (await recorded(store, lease, batch)).lease
            steps.append(conn.execute("SELECT count(*) FROM day_steps").fetchone())

    assert steps == [(1,), (2,), (0,)]
    assert (await store.users.day("local", TODAY)).pages == 3
