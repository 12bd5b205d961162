"""A database is saved to one file and restored, also while it is in use."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import gethostname

import pytest
from sqlalchemy.exc import OperationalError

from crawlyard.databases import (
    CopyProgress,
    DatabaseLocation,
    backup,
    check_database,
    copy_database,
    restore,
    upgrade,
    vacuum,
)
from crawlyard.errors import Conflict, Invalid, NotFound, SchemaMismatch, StoreUnavailable
from crawlyard.services.workers.reporting import ALIVE
from crawlyard.store.admin.content import STORED
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import JobQuery
from crawlyard.store.tables import SCHEMA
from crawlyard.store.tables.every import metadata
from tests.builders import NOW
from tests.conformance.older import OLDER
from tests.conformance.whole import (
    WAYS,
    Stopped,
    content,
    fill,
    next_numbers,
    nothing,
    on_store,
    one_job,
    one_worker,
    run_on,
    silent,
    stopping_after,
    two_databases,
)

KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with all tables and no user data."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        return str(shutil.copy(template, tmp_path / "yard.db"))
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def yard(sqlite_template: Path, tmp_path: Path) -> Path:
    """One on SQLite."""
    return Path(shutil.copy(sqlite_template, tmp_path / "yard.db"))


@pytest.fixture
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two databases: one to save, one to restore."""
    yield from two_databases(request, tmp_path)


def saved(where: str | Path, file: Path) -> Path:
    """Save a database, and return the file."""
    backup(DatabaseLocation.of(where), file, silent, force=False)
    return file


def restored(file: Path, where: str | Path, *, force: bool = False) -> None:
    """Restore a database."""
    restore(file, DatabaseLocation.of(where), NOW, silent, force=force)


def large(where: str | Path) -> None:
    """Make a database too large to be saved in one step, or in four."""
    for n in range(40):
        run_on(where, f"INSERT INTO bodies VALUES ({n + 1000}, 'text', zeroblob({2**20}))")


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- saving


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_a_database_is_restored_as_it_was_saved(way: tuple[str, str], tmp_path: Path) -> None:
    source, target = way
    fill(source, seed=1)
    before = content(source)
    file = saved(source, tmp_path / "yard.backup")
    run_on(source, "DELETE FROM pages")

    restored(file, target)

    assert content(target) == before
    on_store(target, nothing)
    numbers = dict(next_numbers(target))
    unread, events = numbers.pop("new_events") - 1, numbers.pop("events") - 1
    assert {n - 1 for n in numbers.values()} == {19}  # of the last of seven rows
    assert (unread, events) in {(19, 19), (0, 26)}  # an open SQLite file has none that are unread


def test_a_backup_is_on_the_disk_before_it_has_its_name_and_its_name_is_too(
    yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sync = tmp_path / "yard.backup", os.fsync
    synced: list[tuple[int, bool]] = []

    def noted(descriptor: int) -> None:
        sync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, file.exists()))

    monkeypatch.setattr(os, "fsync", noted)
    saved(yard, file)

    assert synced == [(file.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


@pytest.mark.parametrize("where", KINDS, indirect=True)
def test_a_backup_is_one_file_readable_by_its_owner_only(where: str, tmp_path: Path) -> None:
    fill(where, seed=2)
    folder = tmp_path / "backups"
    folder.mkdir()

    file = saved(where, folder / "yard.backup")

    assert listed(folder) == ["yard.backup"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert content(file) == content(where)
    assert listed(folder) == ["yard.backup"]  # no log was made by reading it


def test_what_is_written_meanwhile_neither_stops_a_backup_nor_gets_into_it(
    yard: Path, tmp_path: Path
) -> None:
    fill(yard, seed=3)
    large(yard)
    before = content(yard)
    progress_reports: list[CopyProgress] = []

    def write(progress: CopyProgress) -> None:
        progress_reports.append(progress)
        run_on(
            yard, f"INSERT INTO bodies VALUES ({len(progress_reports)}, 'new', zeroblob(100000))"
        )

    backup(DatabaseLocation.of(yard), tmp_path / "yard.backup", write, force=False)

    assert content(tmp_path / "yard.backup") == before
    assert len(progress_reports) > 4
    assert [p.share for p in progress_reports] == sorted(p.share for p in progress_reports)


WRITER = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
for n in range(10**9):
    file.execute("BEGIN IMMEDIATE")
    file.execute("INSERT INTO workers VALUES (?, '{}', 0, '')", (n,))
    file.execute("INSERT INTO bodies VALUES (?, 'text', zeroblob(50000))", (n,))
    file.execute("COMMIT")
    print(n, flush=True)
"""


def test_a_backup_beside_a_busy_writer_holds_whole_transactions(yard: Path, tmp_path: Path) -> None:
    large(yard)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(yard)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        try:
            first = int(writer.stdout.readline())
            files = [saved(yard, tmp_path / f"{n}.backup") for n in range(3)]
        finally:
            writer.kill()
        written = int(writer.stdout.read().split()[-1]) + 1

    counts = []
    for file in files:
        saved_content = content(file)
        assert len(saved_content["workers"]) == len(saved_content["bodies"]) - 40
        counts.append(len(saved_content["workers"]))
    assert first < counts[0] < counts[2] <= written + 1


def test_a_file_is_replaced_only_with_force(yard: Path, tmp_path: Path) -> None:
    file = saved(yard, tmp_path / "yard.backup")
    on_store(yard, one_job)

    with pytest.raises(Invalid, match="--force"):
        saved(yard, file)
    assert content(file)["jobs"] == []

    backup(DatabaseLocation.of(yard), file, silent, force=True)
    assert len(content(file)["jobs"]) == 1


@pytest.mark.parametrize("where", KINDS, indirect=True)
def test_a_backup_that_fails_leaves_the_one_before_and_nothing_else(
    where: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    file = saved(where, folder / "yard.backup")
    before = file.read_bytes()
    fill(where, seed=4)

    with pytest.raises(Stopped):
        backup(DatabaseLocation.of(where), file, stopping_after(1), force=True)

    assert listed(folder) == ["yard.backup"]
    assert file.read_bytes() == before


def test_what_a_killed_backup_left_goes_with_the_next(yard: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    mine = f".yard.backup.{gethostname()}."
    stale_parts = [f"{mine}{ended.pid}.part", f"{mine}{ended.pid}.part-journal"]
    live_parts = [f"{mine}{os.getppid()}.part", f".other.{gethostname()}.{ended.pid}.part"]
    for name in (*stale_parts, *live_parts):
        (folder / name).touch()

    saved(yard, folder / "yard.backup")

    assert listed(folder) == sorted([*live_parts, "yard.backup"])


def test_a_database_is_not_saved_onto_itself(yard: Path) -> None:
    with pytest.raises(Invalid, match="FILE"):
        backup(DatabaseLocation.of(yard), yard, silent, force=True)

    on_store(yard, nothing)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_replaced_by_one(
    yard: Path, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    there = tmp_path / "there"
    make(there)

    with pytest.raises(Invalid, match="something else"):
        backup(DatabaseLocation.of(yard), there, silent, force=True)

    assert there.exists()
    assert not there.is_file()


def test_a_dangling_link_is_replaced_only_with_force(yard: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "none")

    with pytest.raises(Invalid, match="--force"):
        saved(yard, link)


def test_there_is_no_backup_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        saved(tmp_path / "none.db", tmp_path / "yard.backup")

    assert listed(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(yard: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none/yard\.backup"):
        saved(yard, tmp_path / "none" / "yard.backup")


@pytest.mark.usefixtures("older")
def test_an_older_database_is_saved_as_it_is(yard: Path, tmp_path: Path) -> None:
    _older(yard)

    done = backup(DatabaseLocation.of(yard), tmp_path / "old.backup", silent, force=False)

    assert done.version == OLDER
    assert check_database(DatabaseLocation.of(tmp_path / "old.backup")).version == OLDER


def test_a_database_from_before_the_first_release_is_not_saved(yard: Path, tmp_path: Path) -> None:
    _from_before_the_first_release(yard)

    with pytest.raises(SchemaMismatch, match=f"{yard} has schema 0011, which was written before"):
        backup(DatabaseLocation.of(yard), tmp_path / "old.backup", silent, force=False)


# --- restoring


@pytest.mark.parametrize("where", KINDS, indirect=True)
def test_a_database_with_data_is_overwritten_only_with_force(where: str, tmp_path: Path) -> None:
    fill(where, seed=5)
    run_on(where, "DELETE FROM workers")  # their last heartbeats are in the future
    file = saved(where, tmp_path / "yard.backup")
    before = content(where)
    run_on(where, "DELETE FROM pages")
    run_on(where, "INSERT INTO cursors (name, seq) VALUES ('!', 1)")
    changed = content(where)

    with pytest.raises(Invalid, match="--force"):
        restored(file, where)
    assert content(where) == changed

    restored(file, where, force=True)
    assert content(where) == before


def test_a_restore_that_fails_leaves_the_yard_as_it_was(yard: Path, tmp_path: Path) -> None:
    large(yard)
    file = saved(yard, tmp_path / "yard.backup")
    on_store(yard, one_job)
    before = content(yard)

    with pytest.raises(Stopped):
        restore(file, DatabaseLocation.of(yard), NOW, stopping_after(3), force=True)

    assert content(yard) == before


async def test_who_has_the_yard_open_sees_what_was_restored(yard: Path, tmp_path: Path) -> None:
    store = await open_sql_store(yard)
    await one_job(store)
    assert len(await store.jobs.find(JobQuery(), 10)) == 1
    file = saved(yard, tmp_path / "yard.backup")
    await one_job(store)

    restored(file, yard, force=True)

    assert len(await store.jobs.find(JobQuery(), 10)) == 1
    await one_job(store)
    await store.close()
    assert len(content(yard)["jobs"]) == 2


@pytest.mark.parametrize("where", KINDS, indirect=True)
def test_workers_that_are_alive_are_in_the_way_of_a_restore(where: str, tmp_path: Path) -> None:
    file = saved(where, tmp_path / "yard.backup")
    on_store(where, one_worker)

    with pytest.raises(Conflict, match="w-7"):
        restored(file, where, force=True)
    restore(file, DatabaseLocation.of(where), NOW + ALIVE * 1.01, silent, force=True)

    assert content(where)["workers"] == []


def test_a_restored_or_copied_file_is_readable_by_its_owner_only(
    yard: Path, tmp_path: Path
) -> None:
    fill(yard, seed=3)
    file = saved(yard, tmp_path / "yard.backup")
    restored_to, copied_to = (tmp_path / name / "crawlyard.db" for name in ("one", "two"))

    restored(file, restored_to)
    copy_database(
        DatabaseLocation.of(yard),
        DatabaseLocation.of(copied_to),
        NOW,
        silent,
        restart=False,
        force=True,
    )
    with closing(sqlite3.connect(copied_to)) as conn:  # the files beside it, while it is open
        conn.execute("CREATE TABLE t (n)")
        modes = {path.stat().st_mode & 0o777 for path in copied_to.parent.glob("*.db-*")}

    assert [f.stat().st_mode & 0o777 for f in (restored_to, copied_to)] == [0o600, 0o600]
    assert modes == {0o600}


def test_a_new_folder_may_be_restored_to(yard: Path, tmp_path: Path) -> None:
    on_store(yard, one_job)
    file = saved(yard, tmp_path / "yard.backup")

    restored(file, tmp_path / "new" / "crawlyard.db")

    assert content(tmp_path / "new" / "crawlyard.db") == content(yard)
    with closing(sqlite3.connect(tmp_path / "new" / "crawlyard.db")) as there:
        assert there.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("where", KINDS, indirect=True)
@pytest.mark.usefixtures("older")
def test_a_backup_of_an_older_version_is_brought_up_to_date(
    where: str, sqlite_template: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copy(sqlite_template, tmp_path / "old.db"))
    _older(old)
    file = saved(old, tmp_path / "old.backup")
    before = file.read_bytes()

    restored(file, where)

    assert ("upgraded", 7) in content(where)["cursors"]
    assert check_database(DatabaseLocation.of(where)).version == SCHEMA
    assert file.read_bytes() == before


def _cut(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def _garbled(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(4096 * 3)
        opened.write(b"\xff" * 4096 * 8)


def _something_else(file: Path) -> None:
    file.write_bytes(b"hello, I am a text\n" * 1000)


def _another_database(file: Path) -> None:
    file.unlink()
    run_on(file, "CREATE TABLE recipes (name)")


def _of_another_program(file: Path, version: str = "0002") -> None:
    _another_database(file)
    run_on(file, "CREATE TABLE alembic_version (version_num)")
    run_on(file, f"INSERT INTO alembic_version VALUES ('{version}')")


def _of_another_program_at_our_version(file: Path) -> None:
    _of_another_program(file, SCHEMA)


def _older(file: Path) -> None:
    run_on(file, f"UPDATE alembic_version SET version_num = '{OLDER}'")


def _older_with_a_table_that_is_gone(file: Path) -> None:
    _older(file)
    run_on(file, "DROP TABLE cursors")


def _from_before_the_first_release(file: Path) -> None:
    run_on(file, "UPDATE alembic_version SET version_num = '0011'")


def _newer(file: Path) -> None:
    run_on(file, "UPDATE alembic_version SET version_num = '0999'")


def _unfinished(file: Path) -> None:
    run_on(file, "UPDATE alembic_version SET version_num = 'unfinished copy'")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, "is damaged"),
        (_garbled, "is damaged"),
        (_something_else, "is not a SQLite database"),
        (_another_database, "has no tables of Crawlyard"),
        (_of_another_program, "but those of something else"),
        (_of_another_program_at_our_version, "but those of something else"),
        (_older_with_a_table_that_is_gone, "no such table: cursors"),
        (_from_before_the_first_release, "schema 0011, .* before the first release"),
        (_newer, "schema 0999, .* supports only"),
        (_unfinished, "is an unfinished copy"),
        (Path.unlink, "there is no file"),
    ],
)
@pytest.mark.usefixtures("older")
def test_what_is_no_whole_backup_is_refused(
    yard: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    fill(yard, seed=6)
    run_on(yard, "DELETE FROM workers")
    file = saved(yard, tmp_path / "yard.backup")
    before = content(yard)
    spoil(file)

    refusals = (StoreUnavailable, SchemaMismatch, NotFound, OperationalError)
    with pytest.raises(refusals, match=message):
        restored(file, yard, force=True)

    assert content(yard) == before


# --- looking after it


@pytest.mark.parametrize("where", KINDS, indirect=True)
def test_a_check_reports_the_schema_and_the_size_of_each_table(where: str) -> None:
    fill(where, seed=7)

    report = check_database(DatabaseLocation.of(where))

    assert (report.version, list(report.damage)) == (SCHEMA, [])
    assert {t.table: t.rows for t in report.tables} == {
        name: len(rows) for name, rows in content(where).items()
    }
    bytes_by_table = {t.table: t.bytes or 0 for t in report.tables}
    assert bytes_by_table.keys() == metadata.tables.keys()
    assert all(size >= 4096 for size in bytes_by_table.values())
    assert sum(bytes_by_table.values()) <= report.bytes


def test_a_check_reports_damage(yard: Path) -> None:
    fill(yard, seed=8)
    run_on(yard, "DELETE FROM jobs WHERE no = 1")
    _garbled(yard)

    report = check_database(DatabaseLocation.of(yard))

    assert report.damage
    assert list(report.tables) == []


@pytest.mark.postgres
def test_postgres_is_vacuumed_as_well(postgres_url: str) -> None:
    fill(postgres_url, seed=10)

    before, after = vacuum(DatabaseLocation.of(postgres_url))

    # a table gets maps of its free room, of 32 KiB
    assert 0 < after <= before + len(STORED) * 2**16


@pytest.mark.usefixtures("older")
def test_tables_are_brought_up_to_date(yard: Path) -> None:
    _older(yard)

    done = [upgrade(DatabaseLocation.of(yard)), upgrade(DatabaseLocation.of(yard))]

    assert [(each.before, each.after) for each in done] == [(OLDER, SCHEMA), (SCHEMA, SCHEMA)]
