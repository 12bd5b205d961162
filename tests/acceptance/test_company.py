"""Jobs of one killed worker continue together, within seconds."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from socket import inet_aton
from typing import Any

import psycopg
import pytest

from crawlyard import LOCAL, EventName, State, StateReason
from crawlyard.core.jobs.job import DEATHS_ALLOWED
from crawlyard.demo.server import SiteServer
from crawlyard.services.jobs.lookup import find_job
from tests.acceptance.test_faults import a_worker
from tests.engine.rig import a_spec, opened, outcome, until_state
from tests.jobs import events_of, submit
from tests.many_hosts import ManyHosts, address
from tests.site import Serve, site_server, until
from tests.times import slowness

__all__ = ["site_server"]

JOBS = 16
OPTIONS = ("--no-scheduler", "--no-webhooks", "--no-janitor")

IDLE_S, BUSY_S = 3.0, 6.0
"""Limits for the first requests of all jobs after their worker was killed, on an idle machine.

*Idle* and *busy* describe the worker that takes them over.
"""

SESSIONS = 4  # of a worker with all its children


def first_requests_by_host(server: SiteServer, worker: str, since: float = 0.0) -> dict[str, float]:
    """Return when *worker* sent its first request after *since* to each host."""
    first = dict[str, float]()
    for hit in list(server.hits):
        if hit.user_agent == worker and hit.at > since:
            first.setdefault(hit.host, hit.at)
    return first


def count(database: "psycopg.Connection[Any]", query: str) -> int:
    row = database.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


async def until_there(
    database: "psycopg.Connection[Any]", worker: asyncio.subprocess.Process
) -> None:
    """Return once a worker has registered."""
    query = f"SELECT count(*) FROM workers WHERE id LIKE '%-{worker.pid}-%'"
    async with asyncio.timeout(120):
        while not count(database, query):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.postgres
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("losses", [1, 2])
async def test_all_jobs_of_a_killed_worker_continue_within_seconds_with_four_sessions(
    losses: int, postgres_url: str, tmp_path: Path, site_server: Serve, *, busy: bool
) -> None:
    """After the first loss the jobs run in one process, after the second in a child each.

    A busy survivor runs as many jobs of its own, as fast as its machine allows.
    """
    server = await site_server(ManyHosts(2 * JOBS, 100_000), host="0.0.0.0", latency_s=0.05)
    environment = {"CRAWLYARD_DATABASE_URL": postgres_url}
    of_killed, of_survivor = range(JOBS), range(JOBS, 2 * JOBS)

    async with AsyncExitStack() as stack:
        database = stack.enter_context(psycopg.connect(postgres_url, autocommit=True))

        async def fill(numbers: range, per_host: int) -> None:
            async with opened(tmp_path, database_url=postgres_url) as yard:
                for number in numbers:
                    url = f"http://{address(number)}:{server.port}/0"
                    await submit(yard, a_spec(url, per_host=per_host))

        async def started(name: str, jobs: int = JOBS) -> asyncio.subprocess.Process:
            named = environment | {"CRAWLYARD_USER_AGENT": name}
            worker = a_worker(tmp_path / "data", *OPTIONS, "--jobs", str(jobs), **named)
            return await stack.enter_async_context(worker)

        async def requested(name: str, numbers: range) -> float:
            """Return when *name* had sent a request to each of the hosts."""
            hosts = {f"{address(number)}:{server.port}" for number in numbers}
            await until(lambda: hosts <= first_requests_by_host(server, name).keys())
            first = first_requests_by_host(server, name)
            return max(first[host] for host in hosts)

        await fill(of_killed, per_host=1)
        holder = await started("0")
        await requested("0", of_killed)
        slow = slowness()
        for loss in range(1, losses + 1):
            name, fully = str(loss), busy and loss == losses
            survivor = await started(name, 2 * JOBS if fully else JOBS)
            await until_there(database, survivor)
            if fully:
                await fill(of_survivor, per_host=8)
                await requested(name, of_survivor)
            killed_at = time.monotonic()
            holder.kill()
            await holder.wait()
            took = await requested(name, of_killed) - killed_at
            holder = survivor
        sessions = count(
            database,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    slow = max(slow, slowness())

    assert took < (BUSY_S if busy else IDLE_S) * slow
    assert sessions <= SESSIONS


class PoisonedSite(ManyHosts):
    """A site with a page that kills the process that requests it.

    The third pages of other hosts wait until the poison has killed *deaths* processes.
    """

    def __init__(self, hosts: int, deaths: int) -> None:
        super().__init__(hosts, 4)
        self.deaths = deaths
        self.killed: list[int] = []
        self.released = asyncio.Event()

    def answer(self, method: str, path: str, host: str) -> Any:
        if path == "/poison":
            return self._kill
        return self._wait if path == "/2" else super().answer(method, path, host)

    async def _kill(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, server = (writer.get_extra_info(name) for name in ("peername", "sockname"))
        pid = owner_of(client, server)
        self.killed.append(pid)
        os.kill(pid, signal.SIGKILL)
        if len(self.killed) >= self.deaths:
            self.released.set()
        await reader.read()

    async def _wait(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.released.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def owner_of(client: tuple[str, int], server: tuple[str, int]) -> int:
    """Return the pid of the process that has the *client*'s end of a TCP connection.

    Its port is not enough: connections to other addresses, even closed ones, may have the same.
    """
    ends = [f"{inet_aton(host)[::-1].hex().upper()}:{port:04X}" for host, port in (client, server)]
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    (inode,) = [row[9] for line in lines if (row := line.split())[1:3] == ends]
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(link.readlink()) == f"socket:[{inode}]":
                return int(link.parts[2])
    raise LookupError(client)


@pytest.mark.slow
async def test_a_job_that_kills_its_worker_interrupts_other_jobs_at_most_twice(
    tmp_path: Path, site_server: Serve
) -> None:
    site = PoisonedSite(JOBS, deaths=2 + DEATHS_ALLOWED)
    server = await site_server(site, host="0.0.0.0")
    async with opened(tmp_path, database_url="") as yard:
        innocent = [
            await submit(yard, a_spec(f"http://{address(number)}:{server.port}/0"))
            for number in range(1, JOBS)
        ]
        for loss in (1, 2):
            async with a_worker(tmp_path / "data", *OPTIONS, "--jobs", str(JOBS)) as worker:
                if loss == 1:
                    await until(lambda: sum(hit.path == "/2" for hit in server.hits) == JOBS - 1)
                    spec = a_spec(f"http://{address(0)}:{server.port}/poison")
                    poison = await submit(yard, spec)
                await worker.wait()
        async with a_worker(tmp_path / "data", *OPTIONS, "--jobs", str(JOBS)) as worker:
            await until_state(yard, poison.id, State.FAILED)
            for job in innocent:
                await until_state(yard, job.id, State.COMPLETED)
            assert worker.returncode is None
        failed = await find_job(yard.store, LOCAL, poison.id)
        events = [await events_of(yard, job.id) for job in innocent]
        pages = [(await outcome(yard, job.id)).usage.pages for job in innocent]

    assert failed.job.state_reason is StateReason.WORKER_LOST
    assert len(site.killed) == 2 + DEATHS_ALLOWED
    for each in events:
        assert [event.name for event in each].count(EventName.WORKER_LOST) == 2
    assert set(pages) == {3}
