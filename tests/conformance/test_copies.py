"""A database copied to another: all of it, of whichever kind, also in several goes."""

import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawlyard.databases import CopyProgress, DatabaseLocation, copy_database
from crawlyard.errors import Conflict, Invalid, NotFound, SchemaMismatch
from crawlyard.services.workers.reporting import ALIVE
from crawlyard.store.admin.copy import OnProgress, copy
from crawlyard.store.admin.marks import OverwriteTerms
from crawlyard.store.store import Store
from crawlyard.store.tables.every import metadata
from tests.builders import NOW, a_job
from tests.conformance.older import OLDER
from tests.conformance.steps import added
from tests.conformance.test_counts import check, some_of_each
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

TERMS = OverwriteTerms(field="--to")
SMALL = 2  # rows of a batch: a copy takes many


@pytest.fixture
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two databases with all tables and no user data: source and target."""
    yield from two_databases(request, tmp_path)


@pytest.fixture
def files(sqlite_template: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two such databases on SQLite."""
    return (
        Path(shutil.copy(sqlite_template, tmp_path / "from.db")),
        Path(shutil.copy(sqlite_template, tmp_path / "to.db")),
    )


def copied(source: str | Path, target: str | Path, tell: OnProgress = silent) -> list[str]:
    """Copy in small batches; return the names of the tables."""
    done = copy(
        DatabaseLocation.of(source), DatabaseLocation.of(target), TERMS, tell, most_rows=SMALL
    )
    return [table.table for table in done]


# --- all of it


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_every_row_of_every_table_is_copied_as_it_is(way: tuple[str, str]) -> None:
    source, target = way
    fill(source, seed=1)

    copied(source, target)

    there = content(target)
    assert there == content(source)
    assert {name for name, rows in there.items() if len(rows) >= 7} == set(metadata.tables)


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_no_number_is_given_twice_after_a_copy(way: tuple[str, str]) -> None:
    source, target = way
    fill(source, seed=2)

    copied(source, target)

    numbers, there = next_numbers(target), content(target)
    highest = {name: max(row[0] for row in there[name]) for name in numbers}
    assert all(numbers[name] > highest[name] for name in ("jobs", "pages", "events", "frontier"))
    assert numbers == {name: number + 1 for name, number in highest.items()}


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_a_number_of_a_row_that_is_gone_is_not_given_again(way: tuple[str, str]) -> None:
    source, target = way
    on_store(source, one_job)
    on_store(source, _one_event)
    run_on(source, "DELETE FROM events")

    copied(source, target)
    on_store(target, one_job)

    on_store(target, _only_the_second)


async def _one_event(store: Store) -> None:
    assert [event.seq for event in await store.events.events()] == [1]


async def _only_the_second(store: Store) -> None:
    assert [event.seq for event in await store.events.events()] == [2]


def test_unread_events_are_read_from_a_copy(
    sqlite_template: Path, tmp_path: Path, postgres_url: str
) -> None:
    target = shutil.copy(sqlite_template, tmp_path / "to.db")
    on_store(postgres_url, _add_three_events_and_read_one)

    copied(postgres_url, target)

    on_store(target, _all_three_in_order)
    on_store(target, _all_three_in_order)


async def _add_three_events_and_read_one(store: Store) -> None:
    await added(store, a_job(owner="a"))
    await store.events.last()
    await added(store, a_job(owner="b"))
    await added(store, a_job(owner="c"))


async def _all_three_in_order(store: Store) -> None:
    events = await store.events.events()
    assert [(event.seq, event.owner) for event in events] == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_jobs_are_counted_in_a_copy(way: tuple[str, str]) -> None:
    source, target = way
    on_store(source, jobs_of_all_kinds)

    copied(source, target)

    on_store(target, check)
    on_store(target, jobs_of_all_kinds)
    on_store(target, check)


async def jobs_of_all_kinds(store: Store) -> None:
    await some_of_each(store)
    await store.upkeep.tidy()
    await some_of_each(store)  # of these, the steps are copied


def test_tables_have_the_same_digest_on_both_databases_and_none_of_two_that_differ(
    files: tuple[Path, Path], postgres_url: str
) -> None:
    source, other = files
    fill(source, seed=3)
    there, back = DatabaseLocation.of(postgres_url), DatabaseLocation.of(other)

    out = copy(DatabaseLocation.of(source), there, TERMS, silent)
    home = copy(there, back, TERMS, silent)

    assert out == home
    assert len({table.digest for table in out}) == len(metadata.tables)


@pytest.mark.slow
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), rows=st.integers(0, 12), most_rows=st.integers(1, 5))
def test_all_content_of_a_database_is_copied(
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    rows: int,
    most_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("copied")
    source, target = (shutil.copy(sqlite_template, folder / name) for name in ("a.db", "b.db"))
    if rows:
        fill(source, seed, rows)

    copy(
        DatabaseLocation.of(source), DatabaseLocation.of(target), TERMS, silent, most_rows=most_rows
    )

    assert content(target) == content(source)


def test_a_new_file_is_made_ready_for_a_yard(files: tuple[Path, Path], tmp_path: Path) -> None:
    fill(files[0], seed=4)

    copied(files[0], tmp_path / "folder" / "new.db")

    with closing(sqlite3.connect(tmp_path / "folder" / "new.db")) as file:
        modes = [file.execute(f"PRAGMA {p}").fetchone()[0] for p in ("journal_mode", "auto_vacuum")]
    assert modes == ["wal", 2]


# --- in several goes


@pytest.mark.parametrize("way", WAYS, indirect=True)
@pytest.mark.parametrize(
    "after", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (20, 60)), 90]
)
def test_a_copy_that_was_broken_off_goes_on_where_it_was(way: tuple[str, str], after: int) -> None:
    source, target = way
    fill(source, seed=5)
    last: list[CopyProgress] = []
    with pytest.raises(Stopped):
        copied(source, target, stopping_after(after, last))
    before = sum(map(len, content(target).values()))
    progress_reports: list[CopyProgress] = []

    copied(source, target, progress_reports.append)

    assert content(target) == content(source)
    whole = sum(map(len, content(source).values()))
    assert max(progress.rows for progress in progress_reports) == whole - before
    assert [p.share for p in progress_reports] == sorted(p.share for p in progress_reports)
    assert progress_reports[0].share == pytest.approx(last[-1].share, abs=0.1)
    assert progress_reports[-1].share > 0.9


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_what_changed_at_the_source_between_two_goes_is_right_in_the_end(
    way: tuple[str, str],
) -> None:
    source, target = way
    fill(source, seed=6)
    with pytest.raises(Stopped):
        copied(source, target, stopping_after(70))
    run_on(source, "DELETE FROM bodies WHERE page_id = 1")
    run_on(source, "UPDATE jobs SET detail = 'changed' WHERE no = 4")
    run_on(source, "INSERT INTO cursors (name, seq) VALUES ('!', 1)")
    # the old one, under its old key, is in its way
    run_on(source, "UPDATE frontier SET id = 1000 WHERE id = 1")

    copied(source, target)

    assert content(target) == content(source)


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_an_unfinished_copy_cannot_be_opened(way: tuple[str, str]) -> None:
    source, target = way
    fill(source, seed=7)
    with pytest.raises(Stopped):
        copied(source, target, stopping_after(10))

    with pytest.raises(SchemaMismatch, match="is an unfinished copy"):
        on_store(target, nothing)
    with pytest.raises(SchemaMismatch, match="is an unfinished copy"):
        copied(target, f"{source}.db")


def test_a_copy_of_something_else_is_not_gone_on_with(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = files
    other = Path(shutil.copy(source, tmp_path / "other.db"))
    fill(source, seed=8)
    with pytest.raises(Stopped):
        copied(source, target, stopping_after(10))

    with pytest.raises(Invalid, match="--restart") as refused:
        copied(other, target)
    restarted = OverwriteTerms(field="--to", restart=True)
    copy(DatabaseLocation.of(other), DatabaseLocation.of(target), restarted, silent)

    assert str(source) in str(refused.value)
    assert content(target) == content(other)


def test_two_copies_into_one_database_do_not_mix(files: tuple[Path, Path]) -> None:
    source, target = files
    fill(source, seed=9)
    progress_reports: list[CopyProgress] = []

    def rival(progress: CopyProgress) -> None:
        progress_reports.append(progress)
        if len(progress_reports) == 1:
            with pytest.raises(Stopped):
                copied(source, target, stopping_after(3))

    with pytest.raises(Conflict, match="another command is copying"):
        copied(source, target, rival)
    copied(source, target)

    assert content(target) == content(source)


# --- a source that is in use, a target that is


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_what_is_written_after_the_beginning_is_not_copied(way: tuple[str, str]) -> None:
    source, target = way
    fill(source, seed=10)
    before = content(source)

    def meanwhile(progress: CopyProgress) -> None:
        run_on(source, f"INSERT INTO cursors (name, seq) VALUES ('{id(progress)}', 1)")
        run_on(source, "DELETE FROM workers")

    copied(source, target, once(meanwhile))

    assert content(target) == before
    assert content(source) != before


def once(tell: OnProgress) -> OnProgress:
    """Return a callback that reports only the first progress."""
    tells = itertools.chain([tell], itertools.repeat(silent))

    def report_once(progress: CopyProgress) -> None:
        next(tells)(progress)

    return report_once


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_workers_that_are_alive_are_in_the_way_of_a_copy(way: tuple[str, str]) -> None:
    source, target = map(DatabaseLocation.of, way)
    on_store(way[0], one_worker)

    with pytest.raises(Conflict, match="w-7"):
        copy_database(source, target, NOW + ALIVE, silent, restart=False, force=False)
    copy_database(source, target, NOW, silent, restart=False, force=True)

    assert content(way[1]) == content(way[0])


def test_a_worker_that_has_saidnothing_lately_is_not(files: tuple[Path, Path]) -> None:
    source, target = map(DatabaseLocation.of, files)
    on_store(files[0], one_worker)

    later = NOW + ALIVE * 1.01
    copy_database(source, target, later, silent, restart=False, force=False)

    assert content(files[1]) == content(files[0])


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_a_database_that_holds_something_is_left_as_it_is(way: tuple[str, str]) -> None:
    source, target = way
    on_store(target, one_job)
    before = content(target)

    with pytest.raises(Invalid, match=r"expected an empty database, got .*1 row in jobs"):
        copied(source, target)

    assert content(target) == before
    on_store(target, nothing)


def test_a_database_is_not_copied_to_itself(files: tuple[Path, Path]) -> None:
    place, same = (
        DatabaseLocation.of(files[0]),
        DatabaseLocation.of(f"sqlite:///{files[0].parent}/./from.db"),
    )

    with pytest.raises(Invalid, match="--to"):
        copy_database(place, same, NOW, silent, restart=False, force=False)


def test_a_source_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        copied(tmp_path / "none.db", tmp_path / "to.db")

    assert list(tmp_path.iterdir()) == []


OF_ANOTHER_SCHEMA = [
    ("0011", "before the first release"),
    (OLDER, "crawlyard db upgrade"),
    ("0999", "install the version"),
]


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize(("version", "message"), OF_ANOTHER_SCHEMA)
@pytest.mark.parametrize("which", [0, 1], ids=["source", "target"])
def test_a_database_of_another_schema_is_refused(
    files: tuple[Path, Path], which: int, version: str, message: str
) -> None:
    run_on(files[which], f"UPDATE alembic_version SET version_num = '{version}'")

    with pytest.raises(SchemaMismatch, match=message):
        copied(*files)


def test_a_password_is_neither_shown_nor_stored() -> None:
    place = DatabaseLocation.of("postgresql://ada:secret@db.example.org/yard")

    assert "secret" not in place.name + place.label
    assert place.label == "postgresql://db.example.org:5432/yard"


@pytest.mark.parametrize("where", ["", "mysql://h/d", "sqlite://", "memory://"])
def test_what_names_no_database_is_refused_without_its_password(where: str) -> None:
    with pytest.raises(Invalid, match="--from: expected"):
        DatabaseLocation.of(where, "--from")


def test_every_table_has_a_primary_key() -> None:
    assert [table.name for table in metadata.sorted_tables if not table.primary_key.columns] == []
