"""Locks on Postgres tell who is alive."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from crawlyard.clock import SystemClock
from crawlyard.messaging import locks
from crawlyard.messaging.locks import SETTLE_S, LockPresence, key_of

pytestmark = pytest.mark.postgres

SOON_S = 20.0


@dataclass
class Seen:
    """A worker's lock that counts notifications of changes."""

    presence: LockPresence = field(init=False)
    notified: int = 0
    was: list[bool] = field(default_factory=list)

    def changed(self) -> None:
        self.notified += 1
        self.was.append(self.presence.holding)


@asynccontextmanager
async def watching(url: str, worker: str) -> AsyncIterator[Seen]:
    watcher = Seen()
    watcher.presence = LockPresence(url, worker, SystemClock(), watcher.changed)
    async with watcher.presence.hold_lock():
        await until(lambda: watcher.presence.holding)
        yield watcher


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not holds():  # noqa: ASYNC110 - a server notifies no client
            await asyncio.sleep(0)


def ask(url: str, query: str, *arguments: object) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(query.encode(), arguments)


CUT = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"


def cut(url: str, worker: str) -> None:
    ask(url, CUT, key_of(worker) & 0xFFFFFFFF)


async def test_workers_know_how_many_they_are(postgres_url: str) -> None:
    async with watching(postgres_url, "me") as me:
        assert me.presence.fleet == 1

        async with watching(postgres_url, "other") as other:
            await until(lambda: me.presence.fleet == other.presence.fleet == 2)


async def test_a_worker_is_alive_while_it_holds_its_lock(postgres_url: str) -> None:
    async with watching(postgres_url, "me") as me:
        async with watching(postgres_url, "other"):
            await until(lambda: me.presence.filter_known({"other"}) == {"other"})
            notified = me.notified
            assert me.presence.dead({"other"}) == set()
        await until(lambda: me.presence.dead({"other"}) == {"other"})

        assert me.notified > notified
        assert me.presence.dead({"me"}) == set()


async def test_who_was_never_seen_is_dead_after_a_while(postgres_url: str) -> None:
    async with watching(postgres_url, "me") as me:
        assert me.presence.dead({"other"}) == set()

        await until(lambda: me.presence.dead({"other"}) == {"other"})


async def test_who_comes_is_alive_though_he_was_missed_before(postgres_url: str) -> None:
    async with watching(postgres_url, "me") as me:
        await until(lambda: me.presence.dead({"other"}) == {"other"})

        async with watching(postgres_url, "other"):
            await until(lambda: me.presence.dead({"other"}) == set())


async def test_a_worker_notices_a_lost_lock_and_acquires_it_again(postgres_url: str) -> None:
    async with watching(postgres_url, "me") as me:
        cut(postgres_url, "me")
        await until(lambda: len(me.was) == 3)

        assert me.was == [True, False, True]
        assert me.presence.holding


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_a_lock_is_acquired_again_after_any_error_in_the_watcher(
    postgres_url: str, error: type[BaseException]
) -> None:
    holding_states: list[bool] = []

    def changed() -> None:
        holding_states.append(presence.holding)
        if len(holding_states) == 1:
            raise error("a descriptor is in use by another process")

    presence = LockPresence(postgres_url, "me", SystemClock(), changed)
    async with presence.hold_lock():
        await until(lambda: len(holding_states) > 2 and presence.holding)

    assert holding_states[:3] == [True, False, True]


async def test_a_worker_that_lost_its_lock_declares_no_worker_dead_for_a_while(
    postgres_url: str,
) -> None:
    async with watching(postgres_url, "me") as me:
        await until(lambda: me.presence.dead({"other"}) == {"other"})
        lost_at = asyncio.get_running_loop().time()

        cut(postgres_url, "me")
        await until(lambda: not me.presence.holding)
        assert me.presence.filter_known({"other"}) == me.presence.dead({"other"}) == set()
        await until(lambda: me.presence.dead({"other"}) == {"other"})

        assert asyncio.get_running_loop().time() - lost_at >= SETTLE_S


async def test_a_session_of_ours_that_its_server_still_keeps_is_ended(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as former:
        former.execute("SELECT pg_advisory_lock(%s)", (key_of("me"),))

        async with watching(postgres_url, "me"):
            with pytest.raises(psycopg.OperationalError):
                former.execute("SELECT 1")


async def test_who_cannot_have_a_lock_says_once_why(caplog: pytest.LogCaptureFixture) -> None:
    watcher, refused = Seen(), 0

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        refused += 1
        writer.close()

    with tempfile.TemporaryDirectory(prefix="crawlyard-none-") as folder:
        listener = await asyncio.start_unix_server(refuse, f"{folder}/.s.PGSQL.5432")
        where = f"postgresql://nobody@/nothing?host={folder}"
        watcher.presence = LockPresence(where, "me", SystemClock(), watcher.changed)
        async with watcher.presence.hold_lock():
            await until(lambda: refused > 3)
        listener.close()

    assert len(caplog.messages) == 1
    assert "cannot get its lock" in caplog.text


async def test_a_database_that_does_not_answer_is_no_lock_for_a_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_ANSWER_S", 0.1)
    watcher, clients = Seen(), list[asyncio.StreamWriter]()

    def ignore(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)

    with tempfile.TemporaryDirectory(prefix="crawlyard-none-") as folder:
        listener = await asyncio.start_unix_server(ignore, f"{folder}/.s.PGSQL.5432")
        where = f"postgresql://nobody@/nothing?host={folder}"
        watcher.presence = LockPresence(where, "me", SystemClock(), watcher.changed)
        async with watcher.presence.hold_lock():
            await until(lambda: bool(caplog.messages))
        listener.close()
        for client in clients:
            client.close()

    assert caplog.messages == [
        (
            "this worker cannot get its lock, so it runs no jobs: "
            "the database did not respond within 0.1 s"
        )
    ]


async def test_no_worker_is_declared_dead_while_the_database_is_unavailable(
    postgres_url: str,
) -> None:
    watcher = Seen()
    nowhere = "postgresql://nobody@/nothing?host=/nowhere"
    watcher.presence = LockPresence(nowhere, "me", SystemClock(), watcher.changed)

    async with watcher.presence.hold_lock():
        assert not watcher.presence.holding
        assert watcher.presence.filter_known({"other"}) == watcher.presence.dead({"other"}) == set()
