"""Workers on several machines, each a folder of its own; they share only Postgres."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from crawlyard.demo.hits import Hit
from tests.acceptance.shell import (
    SLOW,
    Shell,
    demo_site,
    draining_stderr,
    pages_requested_twice,
    until,
    wait_for_exit,
)
from tests.site import read_log
from tests.times import slowness

PAGES = 120
ALONE = ("work", "--no-scheduler", "--no-webhooks", "--no-janitor")
SOON_S = 180.0
NEVER_S = "600"  # a lease that does not lapse while a test runs
LEASE_S = 6

KILLS = 10
FIRST_S = 3.0
"""Median time from the kill of a worker to the next request of its job.

Scaled by how much longer a process takes to start on a busy machine.
"""

DELAY_S = 0.5
LATE_S = 0.1
"""Between the instant for which a request was booked and its arrival, on an idle machine."""


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until *holds*; fail after a deadline far beyond any promise."""
    end = monotonic() + SOON_S
    while not holds():
        assert monotonic() < end, "the condition never held"


@dataclass(frozen=True)
class Machine:
    """A folder with workers that share only the database with other machines."""

    name: str
    shell: Shell

    @property
    def agent(self) -> str:
        """The User-Agent of its requests."""
        return self.shell.env["CRAWLYARD_USER_AGENT"]

    @contextmanager
    def working(self) -> Iterator[subprocess.Popen[str]]:
        with self.shell.started(*ALONE) as process:
            until(process, "runs up to")
            with draining_stderr(process):
                yield process
                process.kill()


@dataclass(frozen=True)
class MachineFleet:
    """Machines, their database and the site they crawl."""

    folder: Path
    url: str
    database: "psycopg.Connection[Any]"
    site: str

    def machine(self, name: str, **settings: str) -> Machine:
        folder = self.folder / name
        folder.mkdir()
        named = {f"CRAWLYARD_{key.upper()}": value for key, value in settings.items()}
        agent = {"CRAWLYARD_USER_AGENT": f"Machine-{name}/1", "CRAWLYARD_DATABASE_URL": self.url}
        return Machine(name, Shell(folder, agent | named))

    def submit(self, machine: Machine, delay: str = "0") -> None:
        slow = ("--allow-private", "--delay", delay)
        words = ("crawl", self.site, *slow, "--detach", "--concurrency", "2")
        ran = machine.shell.run(*words)
        assert ran.returncode == 0, ran.stderr

    def scalar(self, query: str) -> Any:
        row = self.database.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def holder(self) -> str:
        """Return the pid in the name of the worker that holds the job, or ""."""
        worker = self.scalar("SELECT max(worker) FROM shards")
        return "" if worker is None else worker.rsplit("-", 2)[-2]

    def is_completed(self) -> bool:
        return bool(self.scalar("SELECT state = 'completed' FROM jobs"))

    def after_checkpoints(self, count: int) -> None:
        """Wait until the running job has made *count* more checkpoints."""
        seq = self.scalar("SELECT max(seq) FROM shards")
        eventually(lambda: self.scalar("SELECT max(seq) FROM shards") >= seq + count)

    def pages(self) -> int:
        return int(self.scalar("SELECT max(pages) FROM shards"))

    def hits(self) -> list[Hit]:
        return read_log(self.folder / "hits.jsonl")

    def first_request_of(self, machine: Machine, since: float) -> Hit:
        """Wait for the first request of a machine after *since* and return it."""

        def matching_hits() -> list[Hit]:
            return [h for h in self.hits() if h.at > since and h.user_agent == machine.agent]

        eventually(lambda: bool(matching_hits()))
        return matching_hits()[0]


@pytest.fixture
def fleet(postgres_url: str, tmp_path: Path) -> Iterator[MachineFleet]:
    log = str(tmp_path / "hits.jsonl")
    options = ("--pages", str(PAGES), "--plain", "--latency-ms", "100", "--log", log)
    with (
        psycopg.connect(postgres_url, autocommit=True) as database,
        demo_site(*options) as site,
    ):
        yield MachineFleet(tmp_path, postgres_url, database, site)


@pytest.mark.slow
@pytest.mark.postgres
def test_jobs_of_a_killed_worker_run_again_long_before_their_leases_lapse(
    fleet: MachineFleet,
) -> None:
    machine, two = (fleet.machine(name, lease_s=NEVER_S) for name in ("a", "b"))
    with machine.working() as first, two.working() as second:
        fleet.submit(machine)
        eventually(lambda: len(fleet.hits()) > 10)
        holder, other = (first, second) if fleet.holder() == str(first.pid) else (second, first)

        holder.kill()
        holder.wait()
        eventually(lambda: fleet.holder() == str(other.pid))
        eventually(fleet.is_completed)

    assert fleet.pages() == PAGES


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_another_machine_continues_within_three_seconds_of_a_kill_and_keeps_the_delay(
    fleet: MachineFleet,
) -> None:
    machines = [fleet.machine(name, lease_s=NEVER_S) for name in ("a", "b")]
    took, gaps = list[float](), list[float]()
    with ExitStack() as stack:
        processes = {machine.name: stack.enter_context(machine.working()) for machine in machines}
        fleet.submit(machines[0], str(DELAY_S))
        eventually(lambda: len(fleet.hits()) > 3)
        while len(took) < KILLS:
            [dying] = [m for m in machines if fleet.holder() == str(processes[m.name].pid)]
            [other] = [m for m in machines if m is not dying]
            killed_at = monotonic()
            processes[dying.name].kill()
            processes[dying.name].wait()
            first = fleet.first_request_of(other, killed_at)
            took.append((first.at - killed_at) / slowness())
            gaps.append(first.at - max(hit.at for hit in fleet.hits() if hit.at < first.at))
            processes[dying.name] = stack.enter_context(dying.working())
            count = len(fleet.hits())
            eventually(lambda count=count: len(fleet.hits()) > count + 1)  # type: ignore[misc]
        assert not fleet.is_completed()

    assert median(took) < FIRST_S
    assert min(gaps) > DELAY_S - LATE_S


@pytest.mark.postgres
def test_a_worker_without_its_lock_sends_nothing_until_it_holds_it_again(
    fleet: MachineFleet,
) -> None:
    machine = fleet.machine("a")
    name = fleet.scalar("SELECT current_database()")
    elsewhere = make_url(fleet.url).set(database="postgres")
    with (
        machine.working(),
        psycopg.connect(elsewhere.render_as_string(hide_password=False), autocommit=True) as admin,
    ):
        fleet.submit(machine)
        eventually(lambda: len(fleet.hits()) > 10)

        try:
            # the store keeps its connections; new ones are refused
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            fleet.scalar(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'crawlyard presence'"
            )
            fleet.after_checkpoints(1)
            hits_without = len(fleet.hits())
            fleet.after_checkpoints(2)
            still_held = len(fleet.hits())
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        eventually(fleet.is_completed)

    assert hits_without == still_held < PAGES
    assert fleet.pages() == PAGES
    assert pages_requested_twice(Shell(fleet.folder)) == []


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.postgres
def test_a_worker_suspended_past_its_lease_sends_nothing_for_a_job_it_lost(
    fleet: MachineFleet,
) -> None:
    machine, two = (fleet.machine(name, lease_s=str(LEASE_S)) for name in ("a", "b"))
    with machine.working() as first, two.working() as second:
        fleet.submit(machine)
        eventually(lambda: len(fleet.hits()) > 10)
        is_first = fleet.holder() == str(first.pid)
        holder, other = (first, second) if is_first else (second, first)

        slow = slowness()
        stopped_at = monotonic()
        holder.send_signal(signal.SIGSTOP)
        began = fleet.first_request_of(two if is_first else machine, stopped_at)
        slow = max(slow, slowness())
        assert fleet.holder() == str(other.pid)
        woken_at = monotonic()
        holder.send_signal(signal.SIGCONT)
        eventually(fleet.is_completed)

    agent = (machine if is_first else two).agent
    assert began.at - stopped_at < (LEASE_S + 2) * slow
    assert [hit for hit in fleet.hits() if hit.user_agent == agent and hit.at > woken_at] == []
    assert fleet.pages() == PAGES


def test_processes_are_restarted_when_they_die_and_stopped_together(
    shell: Shell, slow_site: str
) -> None:
    with shell.started("work", "--processes", "2", "--jobs", "1") as process:
        until(process, "2 worker processes")
        pids = [_worker(until(process, "runs up to 1 job ")) for _ in range(2)]

        os.kill(pids[0], signal.SIGKILL)
        another = _worker(until(process, "runs up to 1 job "))
        submitted = shell.run("crawl", slow_site, *SLOW, "--detach")
        assert submitted.returncode == 0, submitted.stderr
        until(process, "started (attempt")
        process.terminate()
        code, _, _ = wait_for_exit(process)

    job = shell.job()
    assert code == 0
    assert another not in pids
    assert (job["state"], job["worker"]) == ("pending", None)
    assert not any(_lives(pid) for pid in (pids[1], another))


@pytest.mark.slow
def test_restarts_of_a_crashing_process_back_off(shell: Shell) -> None:
    with shell.started("work", "--processes", "1") as process:
        for wait in ("1 s", "2 s"):
            os.kill(_worker(until(process, "runs up to")), signal.SIGKILL)
            until(process, f"restarting in {wait}")
        process.terminate()
        code, _, _ = wait_for_exit(process)

    assert code == 0


def test_only_the_first_process_runs_background_services(shell: Shell) -> None:
    ran = shell.run("work", "--processes", "0")
    assert (ran.returncode, "--processes" in ran.stderr) == (2, True)

    with shell.started("work", "--processes", "3", "--no-janitor") as process:
        pids = [_worker(until(process, "runs up to")) for _ in range(3)]
        commands = [_command(pid) for pid in pids]
        process.terminate()
        process.wait()

    beside = sorted(tuple(w for w in words if w.startswith("--no-")) for words in commands)
    assert beside == [
        ("--no-janitor",),
        ("--no-scheduler", "--no-webhooks", "--no-janitor"),
        ("--no-scheduler", "--no-webhooks", "--no-janitor"),
    ]


@pytest.mark.slow
def test_schedules_keep_firing_after_the_first_process_is_stopped(
    shell: Shell, slow_site: str
) -> None:
    with shell.started("work", "--processes", "2", "--no-janitor") as process:
        lines = [until(process, "runs up to") for _ in range(2)]
        [first] = [line for line in lines if "--no-scheduler" not in _command(_worker(line))]

        name = first.split("worker ")[1].split(maxsplit=1)[0]
        eventually(lambda: name in shell.run("workers", "list").stdout)  # it has just started
        stopped = shell.run("workers", "stop", name)
        assert stopped.returncode == 0, stopped.stderr
        eventually(lambda: not _lives(_worker(first)))
        at = f"at {datetime.now(UTC) + timedelta(seconds=8):%Y-%m-%dT%H:%M:%S}"
        here = ("--allow-address", "127.0.0.1", "--max-pages", "1")
        created = shell.run("schedules", "create", "soon", "--when", at, *here, slow_site)
        assert created.returncode == 0, created.stderr
        with draining_stderr(process):
            eventually(lambda: bool(shell.run("jobs", "list", "--quiet").stdout))
            process.terminate()


def test_processes_end_when_nothing_is_left_to_do(shell: Shell, slow_site: str) -> None:
    submitted = shell.run("crawl", slow_site, *SLOW, "--detach", "--max-pages", "3")
    assert submitted.returncode == 0, submitted.stderr

    ran = shell.run("work", "--drain", "--processes", "2")

    assert ran.returncode == 0, ran.stderr
    assert shell.job()["state"] == "completed"


def test_processes_end_with_their_parent(shell: Shell) -> None:
    with shell.started("work", "--processes", "1") as process:
        pid = _worker(until(process, "runs up to"))

        process.kill()
        process.wait()
        eventually(lambda: not _lives(pid))


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_worker_stops_with_an_error_when_the_schema_is_newer(
    shell: Shell, slow_site: str, processes: tuple[str, ...]
) -> None:
    with shell.started("work", *processes) as process:
        until(process, "runs up to")
        submitted = shell.run("crawl", slow_site, *SLOW, "--detach")
        assert submitted.returncode == 0, submitted.stderr
        until(process, "started (attempt")

        with sqlite3.connect(shell.folder / "crawlyard-data" / "crawlyard.db") as connection:
            old = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        code, _, err = wait_for_exit(process)

    with sqlite3.connect(shell.folder / "crawlyard-data" / "crawlyard.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (old,))
    assert code == 6
    assert f"has schema 9999, and this Crawlyard supports only {old}" in err
    assert shell.job()["state"] == "pending"


def _worker(line: str) -> int:
    """Return the pid in a worker's name: ``worker HOST-PID-ABC runs up to …``."""
    return int(line.split("worker ")[1].split(maxsplit=1)[0].rsplit("-", 2)[-2])


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
