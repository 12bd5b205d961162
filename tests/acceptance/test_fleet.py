"""Workers on several machines: each has a folder of its own here, and nothing but Postgres."""

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
from tests.acceptance.shell import SLOW, Shell, a_site, asked_twice, emptied, rest, until
from tests.site import read_log
from tests.times import slowness

PAGES = 120
ALONE = ("work", "--no-scheduler", "--no-webhooks", "--no-janitor")
SOON_S = 180.0
NEVER_S = "600"  # a lease that does not lapse while a test runs
LEASE_S = 6

KILLS = 10
FIRST_S = 3.0
"""The first request of a job comes this soon after its worker was killed: the median.

Where other programs keep the processors busy, so much longer as a process takes to start.
"""

DELAY_S = 0.5
LATE_S = 0.1
"""Between the instant for which a request was booked and its arrival, on a machine with time."""


def eventually(holds: Callable[[], bool]) -> None:
    """Return once *holds*; a deadline far beyond what is promised fails the test."""
    end = monotonic() + SOON_S
    while not holds():
        assert monotonic() < end, "it did not come to that"


@dataclass(frozen=True)
class Machine:
    """A folder of its own, with workers that share nothing with others but the database."""

    name: str
    shell: Shell

    @property
    def agent(self) -> str:
        """Return what it calls itself in requests."""
        return self.shell.env["CRAWLYARD_USER_AGENT"]

    @contextmanager
    def working(self) -> Iterator[subprocess.Popen[str]]:
        with self.shell.started(*ALONE) as process:
            until(process, "runs up to")
            with emptied(process):
                yield process
                process.kill()


@dataclass(frozen=True)
class Fleet:
    """Machines, the database between them, and the site that they crawl."""

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

    def one(self, query: str) -> Any:
        row = self.database.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def holder(self) -> str:
        """Return the pid that is in the name of the worker that has the job, if one has."""
        worker = self.one("SELECT max(worker) FROM shards")
        return "" if worker is None else worker.rsplit("-", 2)[-2]

    def is_completed(self) -> bool:
        return bool(self.one("SELECT state = 'completed' FROM jobs"))

    def after_checkpoints(self, count: int) -> None:
        """Return when the one job that runs has made so many checkpoints more."""
        seq = self.one("SELECT max(seq) FROM shards")
        eventually(lambda: self.one("SELECT max(seq) FROM shards") >= seq + count)

    def pages(self) -> int:
        return int(self.one("SELECT max(pages) FROM shards"))

    def hits(self) -> list[Hit]:
        return read_log(self.folder / "hits.jsonl")

    def first_of(self, machine: Machine, since: float) -> Hit:
        """Wait for the first request of a machine after *since*, and return it."""

        def found() -> list[Hit]:
            return [h for h in self.hits() if h.at > since and h.user_agent == machine.agent]

        eventually(lambda: bool(found()))
        return found()[0]


@pytest.fixture
def fleet(postgres_url: str, tmp_path: Path) -> Iterator[Fleet]:
    log = str(tmp_path / "hits.jsonl")
    options = ("--pages", str(PAGES), "--plain", "--latency-ms", "100", "--log", log)
    with (
        psycopg.connect(postgres_url, autocommit=True) as database,
        a_site(*options) as site,
    ):
        yield Fleet(tmp_path, postgres_url, database, site)


@pytest.mark.slow
@pytest.mark.postgres
def test_jobs_of_a_killed_worker_run_again_long_before_their_leases_lapse(fleet: Fleet) -> None:
    one, two = (fleet.machine(name, lease_s=NEVER_S) for name in ("a", "b"))
    with one.working() as first, two.working() as second:
        fleet.submit(one)
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
def test_another_machine_asks_within_three_seconds_of_a_kill_and_keeps_the_pace(
    fleet: Fleet,
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
            first = fleet.first_of(other, killed_at)
            took.append((first.at - killed_at) / slowness())
            gaps.append(first.at - max(hit.at for hit in fleet.hits() if hit.at < first.at))
            processes[dying.name] = stack.enter_context(dying.working())
            seen = len(fleet.hits())
            eventually(lambda seen=seen: len(fleet.hits()) > seen + 1)  # type: ignore[misc]
        assert not fleet.is_completed()

    assert median(took) < FIRST_S
    assert min(gaps) > DELAY_S - LATE_S


@pytest.mark.postgres
def test_a_worker_without_its_lock_sends_nothing_until_it_holds_it_again(fleet: Fleet) -> None:
    machine = fleet.machine("a")
    name = fleet.one("SELECT current_database()")
    elsewhere = make_url(fleet.url).set(database="postgres")
    with (
        machine.working(),
        psycopg.connect(elsewhere.render_as_string(hide_password=False), autocommit=True) as admin,
    ):
        fleet.submit(machine)
        eventually(lambda: len(fleet.hits()) > 10)

        try:
            # the store's connections stay, a new one is refused
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            fleet.one(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'crawlyard presence'"
            )
            fleet.after_checkpoints(1)
            held = len(fleet.hits())
            fleet.after_checkpoints(2)
            still_held = len(fleet.hits())
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
        eventually(fleet.is_completed)

    assert held == still_held < PAGES
    assert fleet.pages() == PAGES
    assert asked_twice(Shell(fleet.folder)) == []


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.postgres
def test_a_worker_that_was_stopped_past_its_lease_sends_nothing_for_a_job_that_is_another_s(
    fleet: Fleet,
) -> None:
    one, two = (fleet.machine(name, lease_s=str(LEASE_S)) for name in ("a", "b"))
    with one.working() as first, two.working() as second:
        fleet.submit(one)
        eventually(lambda: len(fleet.hits()) > 10)
        is_first = fleet.holder() == str(first.pid)
        holder, other = (first, second) if is_first else (second, first)

        slow = slowness()
        stopped_at = monotonic()
        holder.send_signal(signal.SIGSTOP)
        began = fleet.first_of(two if is_first else one, stopped_at)
        slow = max(slow, slowness())
        assert fleet.holder() == str(other.pid)
        woken_at = monotonic()
        holder.send_signal(signal.SIGCONT)
        eventually(fleet.is_completed)

    agent = (one if is_first else two).agent
    assert began.at - stopped_at < (LEASE_S + 2) * slow
    assert [hit for hit in fleet.hits() if hit.user_agent == agent and hit.at > woken_at] == []
    assert fleet.pages() == PAGES


def test_processes_are_started_again_when_they_die_and_stopped_together(
    shell: Shell, slow_site: str
) -> None:
    with shell.started("work", "--processes", "2", "--jobs", "1") as process:
        until(process, "2 worker processes")
        pids = [_worker(until(process, "runs up to 1 job ")) for _ in range(2)]

        os.kill(pids[0], signal.SIGKILL)
        another = _worker(until(process, "runs up to 1 job "))
        submitted = shell.run("crawl", slow_site, *SLOW, "--detach")
        assert submitted.returncode == 0, submitted.stderr
        until(process, "begun")
        process.terminate()
        code, _, _ = rest(process)

    job = shell.job()
    assert code == 0
    assert another not in pids
    assert (job["state"], job["worker"]) == ("pending", None)
    assert not any(_lives(pid) for pid in (pids[1], another))


@pytest.mark.slow
def test_who_dies_again_and_again_is_waited_for_longer_each_time(shell: Shell) -> None:
    with shell.started("work", "--processes", "1") as process:
        for wait in ("1 s", "2 s"):
            os.kill(_worker(until(process, "runs up to")), signal.SIGKILL)
            until(process, f"restarting in {wait}")
        process.terminate()
        code, _, _ = rest(process)

    assert code == 0


def test_of_several_processes_the_first_alone_runs_what_is_beside_the_jobs(shell: Shell) -> None:
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
def test_schedules_fire_on_when_somebody_stops_the_first_of_several_processes(
    shell: Shell, slow_site: str
) -> None:
    with shell.started("work", "--processes", "2", "--no-janitor") as process:
        lines = [until(process, "runs up to") for _ in range(2)]
        [first] = [one for one in lines if "--no-scheduler" not in _command(_worker(one))]

        told = shell.run("workers", "stop", first.split("worker ")[1].split(maxsplit=1)[0])
        assert told.returncode == 0, told.stderr
        eventually(lambda: not _lives(_worker(first)))
        at = f"at {datetime.now(UTC) + timedelta(seconds=8):%Y-%m-%dT%H:%M:%S}"
        here = ("--allow-address", "127.0.0.1", "--max-pages", "1")
        made = shell.run("schedules", "create", "soon", "--when", at, *here, slow_site)
        assert made.returncode == 0, made.stderr
        with emptied(process):
            eventually(lambda: bool(shell.run("jobs", "list", "--quiet").stdout))
            process.terminate()


def test_processes_end_when_nothing_is_left_to_do(shell: Shell, slow_site: str) -> None:
    submitted = shell.run("crawl", slow_site, *SLOW, "--detach", "--max-pages", "3")
    assert submitted.returncode == 0, submitted.stderr

    ran = shell.run("work", "--drain", "--processes", "2")

    assert ran.returncode == 0, ran.stderr
    assert shell.job()["state"] == "completed"


def test_processes_end_with_the_one_that_began_them(shell: Shell) -> None:
    with shell.started("work", "--processes", "1") as process:
        pid = _worker(until(process, "runs up to"))

        process.kill()
        process.wait()
        eventually(lambda: not _lives(pid))


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_worker_ends_with_a_clear_word_when_the_tables_are_newer(
    shell: Shell, slow_site: str, processes: tuple[str, ...]
) -> None:
    with shell.started("work", *processes) as process:
        until(process, "runs up to")
        submitted = shell.run("crawl", slow_site, *SLOW, "--detach")
        assert submitted.returncode == 0, submitted.stderr
        until(process, "begun")

        with sqlite3.connect(shell.folder / "crawlyard-data" / "crawlyard.db") as connection:
            old = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        code, _, err = rest(process)

    with sqlite3.connect(shell.folder / "crawlyard-data" / "crawlyard.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (old,))
    assert code == 6
    assert f"has schema 9999, and this Crawlyard supports only {old}" in err
    assert shell.job()["state"] == "pending"


def _worker(line: str) -> int:
    """Return the pid that is in a worker's name: ``worker HOST-PID-ABC runs up to …``."""
    return int(line.split("worker ")[1].split(maxsplit=1)[0].rsplit("-", 2)[-2])


def _command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
