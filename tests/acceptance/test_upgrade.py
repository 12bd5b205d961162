"""Processes that may not upgrade the database themselves, as in containers, wait for its schema."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from crawlyard.store.tables import SCHEMA
from tests.acceptance.shell import Process, Shell, draining_stderr, until, wait_for_exit

OLD = Path(__file__).parents[1] / "conformance" / "old_schemas" / "0121-sqlite.sql"
WORK = ("work", "--jobs", "1", "--metrics-port", "0")
SERVE = ("serve", "--port", "0", "--no-worker")


@pytest.fixture
def database(shell: Shell) -> Path:
    """A database of commit dea59534, in the data directory."""
    file = shell.folder / "crawlyard-data" / "crawlyard.db"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as created:
        created.executescript(f"BEGIN; {OLD.read_text('utf-8')} COMMIT;")
    return file


@pytest.fixture
def container(shell: Shell) -> Shell:
    """A shell with the settings of a container."""
    return replace(shell, env={**shell.env, "CRAWLYARD_AUTO_UPGRADE": "off"})


def schema_of(file: Path) -> str:
    with closing(sqlite3.connect(file)) as database:
        version: str = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        return version


def set_schema(file: Path, version: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))


@contextmanager
def ended(process: Process) -> Iterator[None]:
    """Read what the process writes beside the block, then end it with SIGTERM."""
    with draining_stderr(process):
        yield
        process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("words", "ready"),
    [(WORK, "runs up to"), pytest.param(SERVE, "serving http", marks=pytest.mark.slow)],
)
def test_an_older_schema_is_awaited_until_an_operator_upgrades_it(
    container: Shell, database: Path, words: tuple[str, ...], ready: str
) -> None:
    with container.started(*words) as process:
        notice = until(process, "waiting for it")
        before, refused = schema_of(database), container.run("health")
        upgraded = container.run("db", "upgrade")
        until(process, ready)
        with ended(process):
            after = container.run("health")

    assert f"has schema 0121, and this Crawlyard needs {SCHEMA}: crawlyard db upgrade" in notice
    assert before == "0121"
    assert refused.returncode == 6
    assert "crawlyard db upgrade" in refused.stderr
    assert upgraded.returncode == 0
    assert after.returncode == 0


@pytest.mark.slow
def test_a_worker_ends_when_the_schema_becomes_newer_and_waits_when_it_is_started_again(
    container: Shell,
) -> None:
    file = container.folder / "crawlyard-data" / "crawlyard.db"
    with container.started(*WORK) as process:
        until(process, "runs up to")
        set_schema(file, "9999")
        code, _, error = wait_for_exit(process)
    with container.started(*WORK) as process:
        notice = until(process, "waiting for it")
        process.send_signal(signal.SIGTERM)
        stopped, _, _ = wait_for_exit(process)

    assert code == 6
    assert f"has schema 9999, and this Crawlyard supports only {SCHEMA}" in error
    assert f"has schema 9999, and this Crawlyard supports only {SCHEMA}" in notice
    assert stopped == -signal.SIGTERM
