"""`crawlyard db`: copies, backups and restores, also when they are killed."""

import json
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from crawlyard.store.admin.content import STORED
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.every import metadata
from tests.acceptance.shell import (
    MINUTE,
    SLOW,
    Run,
    Shell,
    demo_site,
    until,
    until_stored,
    wait_for_exit,
)
from tests.conformance.whole import content, fill, run_on
from tests.site import read_log

PARTS = 40  # MiB: ten batches, or as many steps of a backup


@pytest.fixture
def yard(shell: Shell) -> Path:
    """The database of a yard with rows in every table and 40 MiB of bodies."""
    assert shell.run("work", "--drain").returncode == 0
    database = shell.folder / "crawlyard-data" / "crawlyard.db"
    fill(database, seed=1)
    run_on(database, "DELETE FROM workers")
    for n in range(PARTS):
        run_on(database, f"INSERT INTO bodies VALUES ({n + 1000}, 'text', randomblob({2**20}))")
    return database


def kill_once(shell: Shell, words: tuple[str, ...], has_begun: Callable[[], bool]) -> None:
    """Run a command and kill it once *has_begun* is true."""
    with shell.started(*words) as process:
        while not has_begun():
            assert process.poll() is None, wait_for_exit(process)
        process.kill()
        process.wait(timeout=MINUTE)


def is_copying(where: str | Path) -> bool:
    """Return whether a copy is in progress and has written some of the bodies."""
    query = "SELECT 1 FROM copy_marks WHERE name = 'bodies' AND position <> ''"
    try:
        if str(where).startswith("postgresql"):
            with psycopg.connect(str(where)) as conn:
                return conn.execute(query).fetchone() is not None
        with closing(sqlite3.connect(f"file:{where}?mode=ro", uri=True)) as file:
            return file.execute(query).fetchone() is not None
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        return False  # not yet


def stdout_of(ran: Run) -> str:
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# --- copying


@pytest.mark.parametrize(
    "kind",
    ["sqlite", pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.postgres])],
)
def test_a_killed_copy_resumes_and_is_complete(
    request: pytest.FixtureRequest, shell: Shell, yard: Path, kind: str
) -> None:
    postgres = kind == "postgres"
    target = str(request.getfixturevalue("empty_postgres_url")) if postgres else "copy.db"
    where = target if postgres else shell.folder / target

    kill_once(shell, ("db", "copy", "--to", target), lambda: is_copying(where))
    refused = shell.run("jobs", "list", env={"CRAWLYARD_DATABASE_URL": _url(where)})
    went_on = shell.run("db", "copy", "--to", target)

    assert refused.returncode == 6
    assert "is an unfinished copy" in refused.stderr
    assert stdout_of(went_on).count("\n") == len(metadata.tables)
    assert "have equal contents" in went_on.stderr
    assert content(where) == content(yard)


def _url(where: str | Path) -> str:
    return str(where) if str(where).startswith("postgresql") else f"sqlite:///{where}"


@pytest.mark.postgres
def test_a_yard_moves_to_postgres_and_back(
    shell: Shell, yard: Path, empty_postgres_url: str
) -> None:
    there = stdout_of(shell.run("db", "copy", "--to", empty_postgres_url, "-o", "json"))
    back = stdout_of(
        shell.run("db", "copy", "--from", empty_postgres_url, "--to", "back", "-o", "json")
    )

    assert json.loads(there) == json.loads(back)
    rows = {table["table"]: table["rows"] for table in json.loads(there)}
    assert rows == {name: len(table_rows) for name, table_rows in content(yard).items()}
    assert content(shell.folder / "back" / "crawlyard.db") == content(yard)


def test_an_interrupted_copy_says_how_to_resume(shell: Shell, yard: Path) -> None:
    del yard
    with shell.started("db", "copy", "--to", "copy.db") as process:
        until(process, "copying")
        process.send_signal(signal.SIGINT)
        code, out, err = wait_for_exit(process)

    assert (code, out) == (130, "")
    assert "run the same command again to continue" in err


def test_live_workers_block_a_copy_but_not_a_backup(shell: Shell) -> None:
    with (
        demo_site("--pages", "5000", "--plain", "--latency-ms", "50") as url,
        shell.started("crawl", url, *SLOW) as crawl,
    ):
        until(crawl, "running")
        refused = shell.run("db", "copy", "--to", "copy.db")
        saved = shell.run("db", "backup", "yard.backup")
        refused_too = shell.run("db", "restore", "yard.backup", "--force")

    assert (refused.returncode, saved.returncode, refused_too.returncode) == (5, 0, 5)
    assert "has live workers" in refused.stderr
    assert "has live workers" in refused_too.stderr
    assert not (shell.folder / "copy.db").exists()


# --- backup and restore


@pytest.mark.slow
def test_a_crawl_backed_up_while_running_resumes_after_a_restore(shell: Shell) -> None:
    pages, log = 120, shell.folder / "hits.jsonl"
    with demo_site(
        "--pages", str(pages), "--plain", "--latency-ms", "80", "--log", str(log)
    ) as url:
        with shell.started("crawl", url, *SLOW, "--per-host", "1") as crawl:
            until(crawl, "running")
            until_stored(shell)
            stdout_of(shell.run("db", "backup", "yard.backup"))
            stored = {row[5] for row in content(shell.folder / "yard.backup")["pages"]}
        hits_before = len(read_log(log))

        stdout_of(shell.run("db", "restore", "yard.backup", "--data-dir", "other"))
        stdout_of(shell.run("work", "--drain", "--data-dir", "other"))

    job = json.loads(stdout_of(shell.run("jobs", "show", "last", "--json", "--data-dir", "other")))
    assert (job["state"], job["usage"]["pages"]) == ("completed", pages)
    again = {url + hit.path for hit in read_log(log)[hits_before:]}
    assert 0 < len(stored) < pages
    assert not stored & again


def test_a_killed_backup_leaves_no_partial_file(shell: Shell, yard: Path) -> None:
    folder = shell.folder / "backups"
    folder.mkdir()
    words = ("db", "backup", "backups/yard.backup")

    kill_once(shell, words, lambda: any(part.stat().st_size for part in folder.iterdir()))
    half = {path.name for path in folder.iterdir()}
    stdout_of(shell.run(*words))

    assert "yard.backup" not in half
    assert [path.name for path in folder.iterdir()] == ["yard.backup"]
    assert content(folder / "yard.backup") == content(yard)


@pytest.mark.slow
@pytest.mark.postgres
def test_a_killed_restore_to_postgres_resumes(
    shell: Shell, yard: Path, empty_postgres_url: str
) -> None:
    stdout_of(shell.run("db", "backup", "yard.backup"))
    there = Shell(shell.folder, {"CRAWLYARD_DATABASE_URL": empty_postgres_url})
    words = ("db", "restore", "yard.backup")

    kill_once(there, words, lambda: is_copying(empty_postgres_url))
    stdout_of(there.run(*words))

    assert content(empty_postgres_url) == content(yard)


@pytest.mark.slow
@pytest.mark.postgres
def test_a_yard_on_postgres_is_backed_up_and_restored(
    shell: Shell, yard: Path, empty_postgres_url: str
) -> None:
    stdout_of(shell.run("db", "copy", "--to", empty_postgres_url))
    there = Shell(shell.folder, {"CRAWLYARD_DATABASE_URL": empty_postgres_url})

    saved = json.loads(stdout_of(there.run("db", "backup", "pg.backup", "--json")))
    run_on(empty_postgres_url, "DELETE FROM pages")
    refused = there.run("db", "restore", "pg.backup")
    stdout_of(there.run("db", "restore", "pg.backup", "--force"))

    assert refused.returncode == 2
    assert saved["bytes"] == (shell.folder / "pg.backup").stat().st_size
    assert "secret" not in saved["database"]
    assert content(empty_postgres_url) == content(yard)


@pytest.mark.parametrize("words", ["backup full/yard.backup", "copy --to full/copy.db"])
def test_a_full_disk_is_reported_and_leaves_no_partial_file(
    shell: Shell, yard: Path, words: str
) -> None:
    del yard
    (shell.folder / "full").mkdir()
    typed = f"ulimit -f 8192; exec {shlex.quote(sys.executable)} -m crawlyard db {words}"

    ran = subprocess.run(
        ["bash", "-c", typed],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=False,
    )

    assert ran.returncode == 6, ran.stderr
    assert ran.stdout == ""
    assert "disk" in ran.stderr.splitlines()[-1]
    assert not list((shell.folder / "full").glob("*.backup"))


# --- maintenance


def test_a_check_reports_tables_and_damage(shell: Shell, yard: Path) -> None:
    whole = shell.run("db", "check", "-o", "json")
    run_on(yard, "DELETE FROM users WHERE id != 'local'")
    torn = shell.run("db", "check")

    report = json.loads(stdout_of(whole))
    assert (report["schema_version"], report["current"], report["damage"]) == (SCHEMA, True, [])
    assert {t["table"] for t in report["tables"]} == set(metadata.tables)
    assert torn.returncode == 6
    assert "is damaged: row" in torn.stderr


@pytest.mark.parametrize(
    ("stored", "advice"),
    [
        ("0001", "has schema 0001, which was written before the first release"),
        (
            "9999",
            f"has schema 9999, and this Crawlyard supports only {SCHEMA}: install the version",
        ),
    ],
)
def test_a_check_fails_on_another_schema_version(
    shell: Shell, yard: Path, stored: str, advice: str
) -> None:
    run_on(yard, f"UPDATE alembic_version SET version_num = '{stored}'")

    ran = shell.run("db", "check", "-o", "json")

    assert ran.returncode == 6
    assert advice in ran.stderr
    report = json.loads(ran.stdout)
    assert (report["schema_version"], report["current"]) == (stored, False)


def test_every_command_refuses_a_schema_from_before_the_first_release(shell: Shell) -> None:
    stdout_of(shell.run("work", "--drain"))
    database = shell.folder / "crawlyard-data" / "crawlyard.db"
    run_on(database, "UPDATE alembic_version SET version_num = '0011'")
    before = database.read_bytes()

    commands = ("db check", "db upgrade", "health", "jobs list", "serve --port 0")
    refused = [shell.run(*words.split()) for words in commands]

    assert [ran.returncode for ran in refused] == [6] * len(commands)
    (message,) = {ran.stderr.splitlines()[-1] for ran in refused}
    assert "crawlyard.db has schema 0011, which was written before the first release" in message
    assert "crawlyard jobs export" in message
    assert database.read_bytes() == before


@pytest.mark.parametrize("style", ["table", "csv", "yaml"])
def test_each_command_writes_in_each_format(shell: Shell, style: str) -> None:
    stdout_of(shell.run("work", "--drain"))
    looks = ("upgrade", "check", "vacuum", "backup b", "copy --to there")

    written = [stdout_of(shell.run("db", *words.split(), "-o", style)) for words in looks]

    begins = {"table": "TABLE", "csv": "table,", "yaml": "---"}
    assert written[1].startswith(begins[style])
    assert "jobs" in written[1]
    assert all(str(SCHEMA) in written[place] for place in (0, 3))
    assert {name for name in metadata.tables if name in written[4]} == set(metadata.tables)


def test_quiet_and_fields_narrow_the_output(shell: Shell) -> None:
    stdout_of(shell.run("work", "--drain"))
    ids = stdout_of(shell.run("db", "upgrade", "-q")), stdout_of(shell.run("db", "check", "-q"))
    picked = stdout_of(shell.run("db", "check", "--fields", "schema_version,current", "-o", "json"))

    assert ids == (f"{SCHEMA}\n", "".join(f"{name}\n" for name in STORED))
    assert json.loads(picked) == {"schema_version": SCHEMA, "current": True}


def test_vacuum_frees_disk_space(shell: Shell, yard: Path) -> None:
    run_on(yard, "DELETE FROM bodies")

    report = json.loads(stdout_of(shell.run("db", "vacuum", "--json")))

    assert report["bytes_before"] - report["bytes"] > PARTS * 2**20 * 0.9


def test_an_upgrade_reports_both_schema_versions(shell: Shell) -> None:
    database = shell.folder / "crawlyard-data" / "crawlyard.db"
    database.parent.mkdir()
    database.touch()
    ran = [shell.run("db", "upgrade", "--json") for _ in range(2)]

    versions = [
        (report["before"], report["after"]) for report in map(json.loads, map(stdout_of, ran))
    ]
    assert versions == [(None, SCHEMA), (SCHEMA, SCHEMA)]
    assert "was upgraded from nothing to" in ran[0].stderr
    assert "is up to date" in ran[1].stderr


def test_a_server_option_is_refused(shell: Shell) -> None:
    ran = shell.run("db", "check", "--server", "http://127.0.0.1:1")

    assert ran.returncode == 2
    assert "leave the server out" in ran.stderr
