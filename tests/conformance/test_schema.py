"""The schema: created from the tables, upgraded by revisions, however many start at once."""

import asyncio
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from inspect import getsource
from pathlib import Path
from typing import TypeVar, cast

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.exc import IntegrityError

from crawlyard import databases
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.errors import SchemaMismatch
from crawlyard.store import migrations
from crawlyard.store.db import new_database
from crawlyard.store.open import open_sql_store
from crawlyard.store.tables import SCHEMA, UPGRADABLE, jobs, page_search
from crawlyard.store.tables.every import metadata
from tests.builders import LEASE, a_batch, a_job, a_target, done, its_event
from tests.conformance.indexing import postings
from tests.conformance.older import OLDER, stamp
from tests.new_sqlite import script

T = TypeVar("T")

OPEN = """
import asyncio, sys
from crawlyard.store.open import open_sql_store
asyncio.run(asyncio.wait_for(open_sql_store(sys.argv[1]), 30))
print("alembic" in sys.modules)
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database without tables is, or may be made."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'yard.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
async def new(empty: str) -> str:
    """A database that has just been created."""
    await (await open_sql_store(empty)).close()
    return empty


def is_postgres(where: str) -> bool:
    return make_url(where).get_backend_name() == "postgresql"


def on(where: str, work: Callable[[Connection], T]) -> T:
    url = make_url(where)
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()


def rows(where: str, query: str) -> list[tuple[object, ...]]:
    return on(where, lambda conn: [tuple(row) for row in conn.execute(text(query))])


async def opened(where: str) -> bool:
    """Open the store in another process; tell whether it has loaded Alembic."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OPEN, where, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out == b"True\n"


async def test_four_may_start_at_once_on_an_empty_database(empty: str) -> None:
    with_alembic = await asyncio.gather(*(opened(empty) for _ in range(4)))

    assert not any(with_alembic)
    assert rows(empty, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert rows(empty, "SELECT id, role FROM users") == [("local", "admin")]


async def test_they_do_not_stand_in_each_others_way_when_they_start_at_one_instant(
    empty: str,
) -> None:
    stores = await asyncio.gather(*(open_sql_store(empty) for _ in range(4)))

    for store in stores:
        assert await store.events.events() == []
        await store.close()


def differences(conn: Connection) -> list[object]:
    """Return how the database differs from the tables, but for the index itself."""

    def is_known(name: str | None, kind: str, _parents: object) -> bool:
        ours = name in page_search.INDEX.tables or not (name or "").startswith("page_search")
        return kind != "table" or ours

    context = MigrationContext.configure(conn, opts={"include_name": is_known})
    # its type does not know that it takes several
    diffs: list[object] = compare_metadata(context, [metadata, page_search.INDEX])  # type: ignore[arg-type]
    return diffs


def test_the_statements_for_sqlite_are_those_that_the_tables_generate() -> None:
    assert new_database.SQLITE.read_text("utf-8") == script(), "run python -m tests.new_sqlite"


async def test_a_new_database_has_what_the_tables_say(new: str) -> None:
    assert on(new, differences) == []


async def test_indexes_of_some_rows_are_so_on_both(new: str) -> None:
    indexes = {index for table in metadata.tables.values() for index in table.indexes}
    some = {i.name for i in indexes if i.dialect_options["sqlite"]["where"] is not None}
    query = "SELECT indexname, indexdef FROM pg_indexes"
    if not is_postgres(new):
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"

    partial = {name for name, statement in rows(new, query) if " WHERE " in str(statement)}

    assert partial == some
    assert len(some) > 20


async def test_indexes_are_created_in_the_order_of_their_definitions(tmp_path: Path) -> None:
    await (await open_sql_store(tmp_path / "yard.db")).close()
    query = "SELECT name FROM sqlite_master WHERE tbl_name = 'jobs' AND sql LIKE 'CREATE%INDEX%'"

    names = [
        name for (name,) in rows(f"sqlite:///{tmp_path / 'yard.db'}", f"{query} ORDER BY rowid")
    ]

    assert names == re.findall(r'Index\(\s*"(jobs_\w+)"', getsource(jobs))
    assert len(names) > 10


async def test_the_program_knows_its_revisions() -> None:
    config = Config()
    config.set_main_option("script_location", migrations.SCRIPTS)
    scripts = ScriptDirectory.from_config(config)

    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == [SCHEMA, *reversed(UPGRADABLE)]


@pytest.mark.usefixtures("older")
async def test_an_older_schema_is_upgraded_once_by_the_first_process(new: str) -> None:
    on(new, lambda conn: stamp(conn, OLDER))

    stores = await asyncio.gather(*(open_sql_store(new) for _ in range(4)))

    for store in stores:
        await store.close()
    assert rows(new, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert rows(new, "SELECT seq FROM cursors WHERE name = 'upgraded'") == [(7,)]
    assert on(new, differences) == []


Rows = list[dict[str, object]]

JOBS_WITH_PAGES = {1: 3, 6: 1500}
"""Pages by number of a job, of the database of commit dea59534."""

SPREAD = "01900000-0000-7000-8000-000000000045"
"""Job 6: it runs. Shard 1 has read 1,200 pages, and 300 were read before the job was cut."""

USED_BEFORE_CUT = {"pages": 300, "bytes": 5000, "done": 301, "duration_s": 1.5}


@pytest.fixture
def old(empty: str) -> str:
    """A database that was written by commit dea59534, with rows in every table."""
    kind = "postgres" if is_postgres(empty) else "sqlite"
    script = Path(__file__).with_name("old_schemas") / f"0121-{kind}.sql"
    if is_postgres(empty):
        with psycopg.connect(empty) as server:
            server.execute(script.read_bytes())
        return empty
    file = Path(make_url(empty).database or "")
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database:
        database.executescript(f"BEGIN; {script.read_text('utf-8')} COMMIT;")
    return empty


def content(conn: Connection) -> dict[str, Rows]:
    """Return the rows of each table."""
    names = inspect(conn).get_table_names()
    if conn.dialect.name == "sqlite":
        names.remove("page_search")  # a virtual table, whose rows are those of page_search_data
    return {name: rows_of(conn, name) for name in names}


def rows_of(conn: Connection, name: str) -> Rows:
    result = conn.execute(text(f"SELECT * FROM {name}")).mappings()
    return [dict(row) for row in result]


async def test_an_older_schema_is_left_alone_if_it_should_not_be_upgraded(old: str) -> None:
    before = on(old, content)

    with pytest.raises(SchemaMismatch, match=f"has schema 0121, .* needs {SCHEMA}: crawlyard db"):
        await open_sql_store(old, upgrade=False)

    assert on(old, content) == before


async def test_an_empty_database_gets_its_tables_even_without_upgrades(empty: str) -> None:
    await (await open_sql_store(empty, upgrade=False)).close()
    await (await open_sql_store(empty, upgrade=False)).close()

    assert on(empty, differences) == []


def upgraded(before: dict[str, Rows]) -> dict[str, Rows]:
    """Return the rows that tables should have after the upgrade."""

    def with_columns(name: str, columns: Callable[[dict[str, object]], dict[str, object]]) -> Rows:
        return [row | columns(row) for row in before[name]]

    def columns_of_job(row: dict[str, object]) -> dict[str, object]:
        pages = JOBS_WITH_PAGES.get(cast("int", row["no"]), 0)
        added: dict[str, object] = {
            "unique_key": None,
            "in_turn": None,
            "settled_pages": pages,
            "group_id": None,
        }
        with_login = any(mark in str(row["spec"]) for mark in ('"session":', '"headers":'))
        return added | {"hidden": int(with_login)}

    def columns_of_run(row: dict[str, object]) -> dict[str, object]:
        showing = {job["id"] for job in before["jobs"] if not columns_of_job(job)["hidden"]}
        return {"whole_id": None, "hidden": row["base_id"] not in {None, *showing}}

    def columns_of_webhook(_: dict[str, object]) -> dict[str, object]:
        channel: dict[str, object] = {"name": "", "rules": None, "sealed": None, "failing": "{}"}
        of_job = {"metadata": "{}", "group_id": None, "page_cursor": None, "headers": "{}"}
        return channel | of_job | {"format": "standard"}

    texts = {"pulse": "{}", "budget": "{}", "current_url": ""}
    nulls = dict.fromkeys(("worker", "lease_until", "recorded_at", "freed_at", "asked_by"))
    used = dict.fromkeys(before["shards"][0], 0) | texts | nulls | USED_BEFORE_CUT
    return before | {
        "alembic_version": [{"version_num": SCHEMA}],
        "credentials": with_columns("credentials", lambda _: {"target": None}),
        "deliveries": with_columns("deliveries", lambda _: {"recurrence": "first"}),
        "events": with_columns("events", lambda _: {"address": None}),
        "new_events": with_columns("new_events", lambda _: {"address": None}),
        "jobs": with_columns("jobs", columns_of_job),
        "run_changes": with_columns("run_changes", columns_of_run),
        "schedules": with_columns("schedules", lambda _: {"private": False}),
        "shards": [*before["shards"], used | {"job_no": 6, "shard": -1}],
        "unproven_pages": [],
        "webhooks": with_columns("webhooks", columns_of_webhook),
    }


def upgrade(where: str) -> None:
    databases.upgrade(databases.DatabaseLocation.of(where))


def test_a_database_of_commit_dea59534_is_upgraded_row_for_row(old: str) -> None:
    before = on(old, content)

    upgrade(old)

    after = on(old, content)
    expected = upgraded(before)
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    assert after.keys() == expected.keys()
    for name, rows in after.items():
        assert sorted(rows, key=in_order) == sorted(expected[name], key=in_order), name


def in_order(row: dict[str, object]) -> str:
    return repr(sorted(row.items()))


def objects(conn: Connection) -> set[tuple[str, str]]:
    """Return the names and definitions of indexes and functions."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    if conn.dialect.name == "postgresql":
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL"
            " SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
    return {(name, " ".join(sql.split())) for name, sql in conn.execute(text(query))}


def test_an_upgraded_database_has_the_schema_of_a_new_one(
    request: pytest.FixtureRequest, old: str
) -> None:
    fixture = "second_postgres_url" if is_postgres(old) else "sqlite_template"
    new = str(request.getfixturevalue(fixture))

    upgrade(old)

    assert on(old, differences) == []
    assert on(old, objects) == on(new if "://" in new else f"sqlite:///{new}", objects)


async def test_a_spread_job_that_runs_during_the_upgrade_keeps_its_total_and_adds_to_it(
    old: str,
) -> None:
    store = await open_sql_store(old)
    now = datetime(2026, 11, 30, 13, tzinfo=UTC)

    claim = await store.spread.join(Asker("w-new"), now, LEASE, in_turn=False)
    assert claim is not None
    target = a_target("waits", host="shop.example")
    await store.frontier.record([(claim.lease, a_batch([], [done(target)]))], now, LEASE)

    assert claim.job.id == SPREAD
    assert (await store.jobs.get(SPREAD)).shard.usage.pages == 1501
    await store.close()


async def test_the_index_of_words_outlives_the_upgrade(old: str) -> None:
    store = await open_sql_store(old)

    assert await postings(store, "welcome") == 1
    await store.close()


@pytest.mark.parametrize("version", ["0102", "0120", "0122", "0125"])
async def test_a_schema_between_the_revisions_is_refused_and_left_alone(
    new: str, version: str
) -> None:
    on(new, partial(stamp, version=version))

    with pytest.raises(SchemaMismatch) as refused:
        await open_sql_store(new)

    assert f"has schema {version}, and this Crawlyard upgrades only" in str(refused.value)
    assert "Install commit 0b8459f2" in str(refused.value)
    assert rows(new, "SELECT version_num FROM alembic_version") == [(version,)]


async def test_a_schema_from_before_the_first_release_is_refused_and_left_alone(new: str) -> None:
    for version in ("0001", "0011", "0100"):
        on(new, partial(stamp, version=version))

        with pytest.raises(SchemaMismatch) as refused:
            await open_sql_store(new)

        assert f"has schema {version}, which was written before the first" in str(refused.value)
        assert "crawlyard jobs export" in str(refused.value)
        assert rows(new, "SELECT version_num FROM alembic_version") == [(version,)]


async def test_a_newer_schema_refuses_an_older_program(new: str) -> None:
    on(new, lambda conn: stamp(conn, "0999"))

    with pytest.raises(SchemaMismatch, match=f"schema 0999, .* supports only {SCHEMA}"):
        await open_sql_store(new)

    on(new, lambda conn: stamp(conn, SCHEMA))
    await (await open_sql_store(new)).close()


async def test_a_state_that_is_not_of_the_lifecycle_is_refused(new: str) -> None:
    store = await open_sql_store(new)
    job = a_job()
    await store.jobs.add(job, its_event(job))
    await store.close()

    with pytest.raises(IntegrityError):
        on(new, lambda c: c.execute(text("UPDATE jobs SET state = 'pausing'")))


async def test_a_creation_that_fails_leaves_nothing_behind(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(new_database, "create_tables", then_failing(new_database.create_tables))
        with pytest.raises(MemoryError):
            await open_sql_store(empty)

    await (await open_sql_store(empty)).close()


@pytest.mark.usefixtures("older")
async def test_an_upgrade_that_fails_leaves_nothing_behind(
    new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(new, lambda conn: stamp(conn, OLDER))
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "upgrade", then_failing(migrations.upgrade))
        with pytest.raises(MemoryError):
            await open_sql_store(new)

    assert rows(new, "SELECT version_num FROM alembic_version") == [(OLDER,)]
    await (await open_sql_store(new)).close()


def then_failing(work: Callable[[Connection], None]) -> Callable[[Connection], None]:
    def interrupted(connection: Connection) -> None:
        work(connection)
        raise MemoryError

    return interrupted
