"""Failures of the worker, the disk and the database around a crawl: the job stays consistent."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from crawlyard import LOCAL, Move, State, StateReason, Yard
from crawlyard.errors import StoreUnavailable
from crawlyard.services.jobs.lookup import find_job
from tests.engine.rig import a_spec, opened, outcome, published, run, until_state
from tests.engine.test_crawl import paths, tree
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve, refetched, site_server, until

__all__ = ["site_server"]


@asynccontextmanager
async def a_worker(
    data_dir: Path, *options: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `crawlyard work` as a process of its own, killed at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawlyard", "work", *options),
        env=os.environ | {"CRAWLYARD_DATA_DIR": str(data_dir)} | environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def children(pid: int) -> list[int]:
    """Return the pids of the child processes of *pid*."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text(encoding="ascii").split()]


async def stop_between_writes(process: asyncio.subprocess.Process, data_dir: Path) -> None:
    """Stop a process while it does not hold the file's lock, so that others can write."""
    async with asyncio.timeout(120):
        while True:
            process.send_signal(signal.SIGSTOP)
            # it keeps running for a moment
            await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED)
            file = sqlite3.connect(data_dir / "crawlyard.db", timeout=1)
            with closing(file), suppress(sqlite3.OperationalError):
                file.execute("BEGIN IMMEDIATE")
                return
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.01)


class SilentSite(GraphSite):
    """A site whose pages are never answered."""

    def answer(self, method: str, path: str, host: str) -> Any:
        return super().answer(method, path, host) if path == "/robots.txt" else _never


async def _never(reader: Any, writer: object) -> None:
    await reader.read()


async def until_requested(server: Any, times: int) -> None:
    """Return once the start page was requested *times* times."""
    async with asyncio.timeout(120):
        while sum(hit.path == "/" for hit in server.hits) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_attempt(yard: Yard, job_id: str, attempt: int) -> None:
    """Return once a job is in its *attempt*-th attempt."""
    async with asyncio.timeout(120):
        while (await find_job(yard.store, LOCAL, job_id)).shard.attempt < attempt:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_seq(yard: Yard, job_id: str, seq: int) -> None:
    """Return once a job has made *seq* checkpoints."""
    async with asyncio.timeout(120):
        while (await find_job(yard.store, LOCAL, job_id)).shard.seq < seq:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def first_child(pid: int) -> int:
    """Return the pid of a process's child once it has executed its own program.

    Stopping it earlier would also stop its parent, which waits for that.
    """
    async with asyncio.timeout(120):
        while not (pids := [c for c in children(pid) if b"crawlyard.child" in command(c)]):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return pids[0]


def command(pid: int) -> bytes:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
async def test_a_job_that_kills_its_workers_runs_in_its_own_process_and_fails(
    tmp_path: Path, site_server: Serve
) -> None:
    server = await site_server(SilentSite({"/": []}))
    async with opened(tmp_path, database_url="") as yard:
        job = await submit(yard, a_spec(f"{server.url}/"))
        for life in range(1, 3):
            async with a_worker(tmp_path / "data") as worker:
                await until_requested(server, life)
                assert not children(
                    worker.pid
                )  # the first two times it runs in the worker's process
                worker.kill()
                await worker.wait()

        async with a_worker(tmp_path / "data") as worker:
            for death in range(1, 4):
                await until_requested(server, 2 + death)
                (fork_server,) = children(worker.pid)
                (child,) = children(fork_server)
                os.kill(child, signal.SIGKILL)
            await until_state(yard, job.id, State.FAILED)
            assert worker.returncode is None  # it outlives the job that killed its children

        ended = await find_job(yard.store, LOCAL, job.id)
        events = [event.data.get("reason") for event in await events_of(yard, job.id)]

    assert ended.job.state_reason is StateReason.WORKER_LOST
    assert events.count("worker_lost") == 5


@pytest.mark.slow
async def test_a_child_that_hangs_ends_with_its_worker(tmp_path: Path, site_server: Serve) -> None:
    server = await site_server(SilentSite({"/": []}))
    async with opened(tmp_path, database_url="") as yard:
        await submit(yard, a_spec(f"{server.url}/"))
        for life in range(1, 4):
            async with a_worker(tmp_path / "data") as worker:
                await until_requested(server, life)
                processes = children(worker.pid)
                processes += [child for pid in processes for child in children(pid)]
                for pid in processes[1:]:
                    os.kill(pid, signal.SIGSTOP)
                worker.kill()
                await worker.wait()

    assert len(processes) == 2  # the fork server, and the child
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes))


@pytest.mark.slow
async def test_a_child_that_takes_longer_than_a_lease_to_start_keeps_its_job(
    tmp_path: Path, site_server: Serve
) -> None:
    site = GraphSite(tree(3, 2))
    server = await site_server(site, latency_s=0.05)
    lease = {"CRAWLYARD_LEASE_S": "6"}
    async with opened(tmp_path, database_url="", lease_s=6.0) as yard:
        job = await submit(yard, a_spec(f"{server.url}/", concurrency=1))
        for life in range(1, 3):
            async with a_worker(tmp_path / "data", **lease) as worker:
                await until(lambda life=life: len(server.hits) > 3 * life)  # type: ignore[misc]
                worker.kill()
                await worker.wait()
        begun = (await find_job(yard.store, LOCAL, job.id)).shard
        async with a_worker(tmp_path / "data", **lease) as worker:
            await until_attempt(yard, job.id, begun.attempt + 1)
            fork_server = await first_child(worker.pid)
            os.kill(fork_server, signal.SIGSTOP)  # long before it is ready
            await until_seq(yard, job.id, begun.seq + 4)  # a heartbeat comes every 2 s
            os.kill(fork_server, signal.SIGCONT)
            await until_state(yard, job.id, State.COMPLETED)
        result = await outcome(yard, job.id)
        standing = await find_job(yard.store, LOCAL, job.id)

    assert standing.shard.attempt == begun.attempt + 1
    assert paths(server, result.ok) == site.reachable()


async def test_the_job_of_a_killed_worker_resumes_at_once_on_the_same_host(
    tmp_path: Path, site_server: Serve
) -> None:
    site = GraphSite(tree(4, 3))
    server = await site_server(site, latency_s=0.02)
    async with opened(tmp_path, database_url="") as yard:
        job = await submit(yard, a_spec(f"{server.url}/", concurrency=2))
        async with a_worker(tmp_path / "data") as worker:
            await until(lambda: len(server.hits) > 15)
            worker.kill()
            await worker.wait()
        interrupted = await find_job(yard.store, LOCAL, job.id)
        task = asyncio.create_task(run(yard, job.id))
        await until_attempt(yard, job.id, interrupted.shard.attempt + 1)
        taken_at = yard.clock.now()
        await task
        result = await outcome(yard, job.id)

    assert interrupted.job.state is State.RUNNING
    assert interrupted.shard.lease_until is not None
    assert taken_at < interrupted.shard.lease_until  # it did not wait for the lease to lapse
    assert paths(server, result.ok) == site.reachable()


@pytest.mark.slow
async def test_a_worker_suspended_past_its_lease_is_refused_when_it_wakes(
    tmp_path: Path, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 4))  # large enough to last until a busy machine has stopped it
    server = await site_server(site, latency_s=0.05)
    lease = {"CRAWLYARD_LEASE_S": "6"}
    async with opened(tmp_path, database_url="", lease_s=6.0) as yard:
        job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
        async with a_worker(tmp_path / "data", **lease) as sleeper:
            await until(lambda: len(server.hits) > 20)
            await stop_between_writes(sleeper, tmp_path / "data")
            before = await find_job(yard.store, LOCAL, job.id)
            worker = yard.worker()
            task = asyncio.create_task(worker.run())
            await until_attempt(yard, job.id, before.shard.attempt + 1)
            sleeper.send_signal(signal.SIGCONT)
            await until_state(yard, job.id, State.COMPLETED)
            worker.stop()
            await task
        result = await outcome(yard, job.id)

    assert result.job.state is State.COMPLETED
    assert paths(server, result.ok) == site.reachable()
    assert max(result.stored.values()) == 1
    assert result.usage.pages == len(result.pages)


async def test_a_full_disk_pauses_the_job_and_it_resumes_once_space_is_free(
    tmp_path: Path, site_server: Serve
) -> None:
    site = GraphSite(tree(6, 3))
    server = await site_server(site)
    async with opened(tmp_path, database_url="") as yard:
        job = await submit(yard, a_spec(f"{server.url}/", keep_html=True))
        database: Any = yard.store.jobs._database
        await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1"))
        with suppress(StoreUnavailable):
            await run(yard, job.id)
        paused = await outcome(yard, job.id)
        await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000"))
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await run(yard, job.id)
        result = await outcome(yard, job.id)

    assert paused.job.state is State.PAUSED
    assert paused.job.state_reason is StateReason.DISK_FULL
    assert paused.usage.pages == len(paused.pages)
    assert result.job.state is State.COMPLETED
    assert paths(server, result.ok) == site.reachable()
    assert max(result.stored.values()) == 1


async def test_a_database_locked_by_another_process_delays_and_loses_nothing(
    tmp_path: Path, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.01)
    async with opened(tmp_path, database_url="") as yard:
        job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
        task = asyncio.create_task(run(yard, job.id))
        await published(yard, job.id, done=10)
        with sqlite3.connect(tmp_path / "data" / "crawlyard.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            hits = len(server.hits)
            await until(lambda: len(server.hits) > hits + 5)
            other.execute("ROLLBACK")
        other.close()
        await task
        result = await outcome(yard, job.id)

    assert paths(server, result.ok) == site.reachable()
    assert not refetched(server.hits)


async def test_a_dead_postgres_delays_and_loses_nothing(
    tmp_path: Path, site_server: Serve, postgres_server: Any, postgres_url: str
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.03)
    async with opened(tmp_path, database_url=postgres_url) as yard:
        job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
        task = asyncio.create_task(run(yard, job.id))
        await published(yard, job.id, done=10)
        await asyncio.to_thread(postgres_server.stop)
        await asyncio.to_thread(postgres_server.start)
        await task
        result = await outcome(yard, job.id)

    assert result.job.state is State.COMPLETED
    assert paths(server, result.ok) == site.reachable()
    assert not refetched(server.hits)
