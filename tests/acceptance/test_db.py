"""`crawlyard db`: a yard copied, saved and restored, whatever is killed meanwhile."""

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
from crawlyard.store.tables import SCHEMA, metadata
from tests.acceptance.shell import MINUTE, SLOW, Run, Shell, a_site, rest, until, until_stored
from tests.conformance.whole import content, fill, run_on
from tests.site import read_log

PARTS = 40  # MiB: ten batches, or as many steps of a backup


@pytest.fixture
def yard(shell: Shell) -> Path:
    """The database of a yard with something in every table, and a lot in one."""
    assert shell.run("work", "--drain").returncode == 0
    database = shell.folder / "crawlyard-data" / "crawlyard.db"
    fill(database, seed=1)
    run_on(database, "DELETE FROM workers")
    for n in range(PARTS):
        run_on(database, f"INSERT INTO bodies VALUES ({n + 1000}, 'text', randomblob({2**20}))")
    return database


def killed_once(shell: Shell, words: tuple[str, ...], begun: Callable[[], bool]) -> None:
    """Run a command, and kill it once it has *begun*."""
    with shell.started(*words) as process:
        while not begun():
            assert process.poll() is None, rest(process)
        process.kill()
        process.wait(timeout=MINUTE)


def marked(where: str | Path) -> bool:
    """Tell whether a copy is under way and has written some of the bodies."""
    asked = "SELECT 1 FROM copy_marks WHERE name = 'bodies' AND position <> ''"
    try:
        if str(where).startswith("postgresql"):
            with psycopg.connect(str(where)) as conn:
                return conn.execute(asked).fetchone() is not None
        with closing(sqlite3.connect(f"file:{where}?mode=ro", uri=True)) as file:
            return file.execute(asked).fetchone() is not None
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        return False  # not yet


def said(ran: Run) -> str:
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


# --- copying


@pytest.mark.parametrize(
    "kind",
    ["sqlite", pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.postgres])],
)
def test_a_copy_that_is_killed_goes_on_and_is_whole(
    request: pytest.FixtureRequest, shell: Shell, yard: Path, kind: str
) -> None:
    postgres = kind == "postgres"
    target = str(request.getfixturevalue("empty_postgres_url")) if postgres else "copy.db"
    where = target if postgres else shell.folder / target

    killed_once(shell, ("db", "copy", "--to", target), lambda: marked(where))
    refused = shell.run("jobs", "list", env={"CRAWLYARD_DATABASE_URL": _url(where)})
    went_on = shell.run("db", "copy", "--to", target)

    assert refused.returncode == 6
    assert "is an unfinished copy" in refused.stderr
    assert said(went_on).count("\n") == len(metadata.tables)
    assert "have equal contents" in went_on.stderr
    assert content(where) == content(yard)


def _url(where: str | Path) -> str:
    return str(where) if str(where).startswith("postgresql") else f"sqlite:///{where}"


@pytest.mark.postgres
def test_a_yard_moves_to_postgres_and_back(
    shell: Shell, yard: Path, empty_postgres_url: str
) -> None:
    there = said(shell.run("db", "copy", "--to", empty_postgres_url, "-o", "json"))
    back = said(shell.run("db", "copy", "--from", empty_postgres_url, "--to", "back", "-o", "json"))

    assert json.loads(there) == json.loads(back)
    rows = {table["table"]: table["rows"] for table in json.loads(there)}
    assert rows == {name: len(found) for name, found in content(yard).items()}
    assert content(shell.folder / "back" / "crawlyard.db") == content(yard)


def test_a_copy_broken_off_says_how_to_go_on(shell: Shell, yard: Path) -> None:
    del yard
    with shell.started("db", "copy", "--to", "copy.db") as process:
        until(process, "copying")
        process.send_signal(signal.SIGINT)
        code, out, err = rest(process)

    assert (code, out) == (130, "")
    assert "run the same command again to continue" in err


def test_workers_at_work_are_in_the_way_of_a_copy_and_not_of_a_backup(shell: Shell) -> None:
    with (
        a_site("--pages", "5000", "--plain", "--latency-ms", "50") as url,
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


# --- saving and restoring


@pytest.mark.slow
def test_a_crawl_that_was_saved_while_it_ran_goes_on_where_it_is_restored(shell: Shell) -> None:
    pages, log = 120, shell.folder / "hits.jsonl"
    with a_site("--pages", str(pages), "--plain", "--latency-ms", "80", "--log", str(log)) as url:
        with shell.started("crawl", url, *SLOW, "--per-host", "1") as crawl:
            until(crawl, "running")
            until_stored(shell)
            said(shell.run("db", "backup", "yard.backup"))
            stored = {row[5] for row in content(shell.folder / "yard.backup")["pages"]}
        asked = len(read_log(log))

        said(shell.run("db", "restore", "yard.backup", "--data-dir", "other"))
        said(shell.run("work", "--drain", "--data-dir", "other"))

    job = json.loads(said(shell.run("jobs", "show", "last", "--json", "--data-dir", "other")))
    assert (job["state"], job["usage"]["pages"]) == ("completed", pages)
    again = {url + hit.path for hit in read_log(log)[asked:]}
    assert 0 < len(stored) < pages
    assert not stored & again


def test_a_backup_that_is_killed_leaves_no_half_file(shell: Shell, yard: Path) -> None:
    folder = shell.folder / "backups"
    folder.mkdir()
    words = ("db", "backup", "backups/yard.backup")

    killed_once(shell, words, lambda: any(part.stat().st_size for part in folder.iterdir()))
    half = {path.name for path in folder.iterdir()}
    said(shell.run(*words))

    assert "yard.backup" not in half
    assert [path.name for path in folder.iterdir()] == ["yard.backup"]
    assert content(folder / "yard.backup") == content(yard)


@pytest.mark.slow
@pytest.mark.postgres
def test_a_restore_to_postgres_that_is_killed_goes_on(
    shell: Shell, yard: Path, empty_postgres_url: str
) -> None:
    said(shell.run("db", "backup", "yard.backup"))
    there = Shell(shell.folder, {"CRAWLYARD_DATABASE_URL": empty_postgres_url})
    words = ("db", "restore", "yard.backup")

    killed_once(there, words, lambda: marked(empty_postgres_url))
    said(there.run(*words))

    assert content(empty_postgres_url) == content(yard)


@pytest.mark.slow
@pytest.mark.postgres
def test_a_yard_on_postgres_is_saved_and_restored(
    shell: Shell, yard: Path, empty_postgres_url: str
) -> None:
    said(shell.run("db", "copy", "--to", empty_postgres_url))
    there = Shell(shell.folder, {"CRAWLYARD_DATABASE_URL": empty_postgres_url})

    saved = json.loads(said(there.run("db", "backup", "pg.backup", "--json")))
    run_on(empty_postgres_url, "DELETE FROM pages")
    refused = there.run("db", "restore", "pg.backup")
    said(there.run("db", "restore", "pg.backup", "--force"))

    assert refused.returncode == 2
    assert saved["bytes"] == (shell.folder / "pg.backup").stat().st_size
    assert "secret" not in saved["database"]
    assert content(empty_postgres_url) == content(yard)


@pytest.mark.parametrize("words", ["backup full/yard.backup", "copy --to full/copy.db"])
def test_a_full_disk_is_told_and_leaves_no_half_file(shell: Shell, yard: Path, words: str) -> None:
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


# --- looking after it


def test_a_check_says_what_there_is_and_what_is_wrong(shell: Shell, yard: Path) -> None:
    whole = shell.run("db", "check", "-o", "json")
    run_on(yard, "DELETE FROM users WHERE id != 'local'")
    torn = shell.run("db", "check")

    found = json.loads(said(whole))
    assert (found["schema_version"], found["current"], found["damage"]) == (SCHEMA, True, [])
    assert {t["table"] for t in found["tables"]} == set(metadata.tables)
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
def test_a_check_fails_where_the_schema_is_of_another_version(
    shell: Shell, yard: Path, stored: str, advice: str
) -> None:
    run_on(yard, f"UPDATE alembic_version SET version_num = '{stored}'")

    ran = shell.run("db", "check", "-o", "json")

    assert ran.returncode == 6
    assert advice in ran.stderr
    found = json.loads(ran.stdout)
    assert (found["schema_version"], found["current"]) == (stored, False)


def test_every_command_refuses_a_schema_from_before_the_first_release(shell: Shell) -> None:
    said(shell.run("work", "--drain"))
    database = shell.folder / "crawlyard-data" / "crawlyard.db"
    run_on(database, "UPDATE alembic_version SET version_num = '0011'")
    before = database.read_bytes()

    commands = ("db check", "db upgrade", "health", "jobs list", "serve --port 0")
    refused = [shell.run(*words.split()) for words in commands]

    assert [ran.returncode for ran in refused] == [6] * len(commands)
    (told,) = {ran.stderr.splitlines()[-1] for ran in refused}
    assert "crawlyard.db has schema 0011, which was written before the first release" in told
    assert "crawlyard jobs export" in told
    assert database.read_bytes() == before


@pytest.mark.parametrize("style", ["table", "csv", "yaml"])
def test_each_command_writes_in_each_format(shell: Shell, style: str) -> None:
    said(shell.run("work", "--drain"))
    looks = ("upgrade", "check", "vacuum", "backup b", "copy --to there")

    written = [said(shell.run("db", *words.split(), "-o", style)) for words in looks]

    begins = {"table": "TABLE", "csv": "table,", "yaml": "---"}
    assert written[1].startswith(begins[style])
    assert "jobs" in written[1]
    assert all(str(SCHEMA) in written[place] for place in (0, 3))
    assert {name for name in metadata.tables if name in written[4]} == set(metadata.tables)


def test_ids_alone_and_picked_fields_can_be_asked_for(shell: Shell) -> None:
    said(shell.run("work", "--drain"))
    ids = said(shell.run("db", "upgrade", "-q")), said(shell.run("db", "check", "-q"))
    picked = said(shell.run("db", "check", "--fields", "schema_version,current", "-o", "json"))

    assert ids == (f"{SCHEMA}\n", "".join(f"{name}\n" for name in STORED))
    assert json.loads(picked) == {"schema_version": SCHEMA, "current": True}


def test_room_is_given_back(shell: Shell, yard: Path) -> None:
    run_on(yard, "DELETE FROM bodies")

    found = json.loads(said(shell.run("db", "vacuum", "--json")))

    assert found["bytes_before"] - found["bytes"] > PARTS * 2**20 * 0.9


def test_an_upgrade_says_what_it_did(shell: Shell) -> None:
    database = shell.folder / "crawlyard-data" / "crawlyard.db"
    database.parent.mkdir()
    database.touch()
    ran = [shell.run("db", "upgrade", "--json") for _ in range(2)]

    told = [(found["before"], found["after"]) for found in map(json.loads, map(said, ran))]
    assert told == [(None, SCHEMA), (SCHEMA, SCHEMA)]
    assert "was upgraded from nothing to" in ran[0].stderr
    assert "is up to date" in ran[1].stderr


def test_a_server_cannot_be_asked(shell: Shell) -> None:
    ran = shell.run("db", "check", "--server", "http://127.0.0.1:1")

    assert ran.returncode == 2
    assert "leave the server out" in ran.stderr
