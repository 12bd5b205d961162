"""The schema: created from the tables, upgraded by revisions, however many start at once."""

import asyncio
import re
import sys
from collections.abc import Callable
from functools import partial
from inspect import getsource
from pathlib import Path
from typing import TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import IntegrityError

from crawlyard.errors import SchemaMismatch
from crawlyard.store import migrations
from crawlyard.store.db import schema
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import PageQuery
from crawlyard.store.tables import FIRST, SCHEMA, jobs, metadata, page_search
from tests.builders import a_batch, a_job, a_page, a_target, done, its_event
from tests.conformance.older import OLDER, stamp
from tests.conformance.steps import added, claimed, recorded

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
    found: list[object] = compare_metadata(context, [metadata, page_search.INDEX])  # type: ignore[arg-type]
    return found


async def test_a_new_database_has_what_the_tables_say(new: str) -> None:
    assert on(new, differences) == []


async def test_indexes_of_some_rows_are_so_on_both(new: str) -> None:
    indexes = {index for table in metadata.tables.values() for index in table.indexes}
    some = {i.name for i in indexes if i.dialect_options["sqlite"]["where"] is not None}
    made = "SELECT indexname, indexdef FROM pg_indexes"
    if not is_postgres(new):
        made = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"

    partial = {name for name, statement in rows(new, made) if " WHERE " in str(statement)}

    assert partial == some
    assert len(some) > 20


async def test_indexes_are_created_in_the_order_of_their_definitions(tmp_path: Path) -> None:
    await (await open_sql_store(tmp_path / "yard.db")).close()
    made = "SELECT name FROM sqlite_master WHERE tbl_name = 'jobs' AND sql LIKE 'CREATE%INDEX%'"

    names = [
        name for (name,) in rows(f"sqlite:///{tmp_path / 'yard.db'}", f"{made} ORDER BY rowid")
    ]

    assert names == re.findall(r'Index\(\s*"(jobs_\w+)"', getsource(jobs))
    assert len(names) > 10


async def test_the_program_knows_the_last_revision_and_the_first() -> None:
    config = Config()
    config.set_main_option("script_location", migrations.SCRIPTS)
    scripts = ScriptDirectory.from_config(config)

    assert (scripts.get_heads(), scripts.get_bases()) == ([SCHEMA], [FIRST])


@pytest.mark.usefixtures("older")
async def test_an_older_schema_is_upgraded_once_by_whoever_is_first(new: str) -> None:
    on(new, lambda conn: stamp(conn, OLDER))

    stores = await asyncio.gather(*(open_sql_store(new) for _ in range(4)))

    for store in stores:
        await store.close()
    assert rows(new, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert rows(new, "SELECT seq FROM cursors WHERE name = 'upgraded'") == [(7,)]
    assert on(new, differences) == []


SINCE_THE_FIRST = {
    "pages": (
        "content_rule",
        "content_hash",
        "content_version",
        "nearly_empty",
        "structured",
        "unchanged_since",
        "body_of",
        "session",
        "rendered_by",
        "render_reason",
    ),
    "jobs": ("based_on", "dealt", "unique_key", "in_turn", "settled_pages"),
    "shards": (
        *("unchanged", "bytes_saved", "requests_saved", "asked_by"),
        *("rendered", "subrequests", "render_s", "render_took_s"),
    ),
    "webhooks": ("schedule_id",),
}
"""The columns that revisions have added to the first release's tables."""

NEW = (
    *("run_changes", "changes", "lastmods", "new_events", "day_steps", "dismissals"),
    *("page_search", "page_search_marks", "page_search_terms", "page_search_gone"),
    *("job_cookies", "instance_keys"),
    *("site_sessions", "unproven_pages"),
)
"""The tables that they have added."""

INDEXES = (
    *("pages_body_of", "jobs_based_on", "deliveries_turns", "frontier_known"),
    *("jobs_unique_key", "jobs_settled_pages"),
)
"""The indexes on old tables that they have added."""


def make_first(where: str) -> None:
    """Give a new database the schema of the first release."""
    undone = [f"DROP INDEX {name}" for name in INDEXES] + [f"DROP TABLE {name}" for name in NEW]
    for table, columns in SINCE_THE_FIRST.items():
        undone += [f"ALTER TABLE {table} DROP COLUMN {column}" for column in columns]
    for statement in undone:
        on(where, partial(Connection.execute, statement=text(statement)))
    on(where, partial(stamp, version=FIRST))


async def test_the_first_release_is_upgraded_with_its_rows(new: str) -> None:
    store = await open_sql_store(new)
    claim = await claimed(store)
    target = a_target("page")
    await recorded(store, claim.lease, a_batch([target], [done(target, title="kept")]))
    await added(store)
    await store.close()
    make_first(new)

    store = await open_sql_store(new)

    [stored] = await store.pages.pages(claim.job.id, PageQuery(), 10)
    assert stored.page == a_page(target, title="kept")
    await store.close()
    assert rows(new, "SELECT settled_pages FROM jobs ORDER BY no") == [(1,), (0,)]
    assert rows(new, "SELECT version_num FROM alembic_version") == [(SCHEMA,)]
    assert on(new, differences) == []


TICKETS = """
    CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing');
    CREATE TABLE procrastinate_workers (id bigint PRIMARY KEY);
    CREATE TABLE procrastinate_jobs (
      id bigserial PRIMARY KEY, queue_name varchar, status procrastinate_job_status,
      worker_id bigint REFERENCES procrastinate_workers (id)
    );
    CREATE TABLE procrastinate_events (job_id bigint REFERENCES procrastinate_jobs);
    CREATE FUNCTION procrastinate_finish_job_v1(job_id bigint, status procrastinate_job_status)
      RETURNS void LANGUAGE sql AS 'SELECT';
    CREATE FUNCTION procrastinate_fetch_job_v2(queues varchar[]) RETURNS procrastinate_jobs
      LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE FUNCTION procrastinate_notify_v1() RETURNS trigger
      LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER procrastinate_notify AFTER INSERT ON procrastinate_jobs
      FOR EACH ROW EXECUTE FUNCTION procrastinate_notify_v1();
"""
"""What Procrastinate's schema has of each kind; the first release created it on Postgres."""

LEFT = """
    SELECT relname::text FROM pg_class WHERE relname LIKE '%procrastinate%' AND relkind = 'r'
    UNION ALL SELECT proname::text FROM pg_proc WHERE proname LIKE 'procrastinate%'
    UNION ALL SELECT typname::text FROM pg_type
      WHERE typname LIKE 'procrastinate%' AND typtype = 'e'
"""


@pytest.mark.postgres
@pytest.mark.parametrize(("queue", "stays"), [("crawlyard.urgent", False), ("mine", True)])
async def test_tables_of_tickets_go_unless_somebody_else_uses_them(
    empty_postgres_url: str, queue: str, stays: bool
) -> None:
    where = empty_postgres_url
    await (await open_sql_store(where)).close()
    row = f"INSERT INTO procrastinate_jobs (queue_name) VALUES ('{queue}')"
    for statement in (TICKETS, row):
        on(where, partial(Connection.exec_driver_sql, statement=statement))
    make_first(where)

    await (await open_sql_store(where)).close()

    assert bool(rows(where, LEFT)) == stays
    assert stays or on(where, differences) == []


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

    with pytest.raises(SchemaMismatch, match=f"schema 0999, .* knows only {SCHEMA}"):
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
        patch.setattr(schema, "create_tables", then_failing(schema.create_tables))
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
