"""The schema: what migrations make is what the tables say, however many start at once."""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.exc import IntegrityError

from crawlyard.core.filter import Source, parse
from crawlyard.core.job import DIRECT
from crawlyard.core.lifecycle import Move, State
from crawlyard.core.spec import FOREVER
from crawlyard.errors import SchemaMismatch
from crawlyard.store import migrations
from crawlyard.store.base import JobQuery
from crawlyard.store.sql import fresh, open_sql_store
from crawlyard.store.tables import SCHEMA, metadata
from tests.builders import NOW, a_job, its_event
from tests.conformance.test_counts import counted

T = TypeVar("T")

OPEN = """
import asyncio, sys
from crawlyard.store.sql import fresh, open_sql_store
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


async def opened(where: str) -> bool:
    """Open and close the store in another process; tell whether it migrated."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OPEN, where, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out == b"True\n"


async def test_four_may_start_at_once_on_an_empty_database(empty: str) -> None:
    migrated = await asyncio.gather(*(opened(empty) for _ in range(4)))

    assert any(migrated) == is_postgres(empty)
    versions = on(empty, lambda c: c.scalars(text("SELECT version_num FROM alembic_version")).all())
    assert versions == [SCHEMA]
    assert not await opened(empty)


async def test_they_do_not_stand_in_each_others_way_when_they_start_at_one_instant(
    empty: str,
) -> None:
    stores = await asyncio.gather(*(open_sql_store(empty) for _ in range(4)))

    for store in stores:
        assert await store.events.events() == []
        await store.close()


def differences(conn: Connection) -> list[object]:
    """Return what the database has otherwise than the tables say, but for the engine's own."""
    context = MigrationContext.configure(conn, opts={"include_object": _is_ours})
    found: list[object] = compare_metadata(context, metadata)
    return found


def _is_ours(_thing: object, name: str | None, kind: str, _found: bool, _like: object) -> bool:
    return kind != "table" or not (name or "").startswith("procrastinate_")


def folder_of(empty: str) -> None:
    """Make the folder that a SQLite file is to be in."""
    if not is_postgres(empty):
        Path(make_url(empty).database or "").parent.mkdir()


async def test_migrations_make_what_the_tables_say(empty: str) -> None:
    folder_of(empty)
    on(empty, migrations.upgrade)

    assert on(empty, differences) == []


async def test_an_empty_database_gets_what_the_tables_say(empty: str) -> None:
    await (await open_sql_store(empty)).close()

    assert on(empty, differences) == []


def made(conn: Connection) -> dict[str, object]:
    """Return what a SQLite file has, and how; but for defaults, which were for older rows."""
    found: dict[str, object] = {}
    look = inspect(conn)
    master = "SELECT name, type, sql FROM sqlite_master"
    for name, kind, sql in conn.exec_driver_sql(master).all():
        if kind != "table":
            found[name] = " ".join((sql or "").replace('"', "").split())
            continue
        columns = conn.exec_driver_sql(f"PRAGMA table_info({name})").all()
        found[name] = {
            "columns": {c.name: (c.type, c.notnull, c.pk) for c in columns},
            "counts on": "AUTOINCREMENT" in sql,
            "primary key": look.get_pk_constraint(name)["name"],
            "checks": look.get_check_constraints(name),
            "unique": sorted(str(one) for one in look.get_unique_constraints(name)),
            "foreign": sorted(str(one) for one in look.get_foreign_keys(name)),
            "rows": [dict(row) for row in conn.exec_driver_sql(f"SELECT * FROM {name}").mappings()],
        }
    return found


def test_an_empty_file_is_made_as_the_migrations_would_make_it(tmp_path: Path) -> None:
    at_once, by_steps = (f"sqlite:///{tmp_path / name}" for name in ("a.db", "b.db"))
    on(at_once, fresh.make)
    on(by_steps, migrations.upgrade)

    in_steps = on(by_steps, made)
    del in_steps["sqlite_sequence"]  # SQLite's own, of tables that were copied on the way
    now = on(at_once, made)
    now.pop("sqlite_sequence", None)
    assert now == in_steps
    assert len(now) > 20


def indexes_made(conn: Connection) -> dict[str, list[str]]:
    """Return the indexes of each table of a SQLite file, in the order in which it reads them."""
    found: dict[str, list[str]] = {}
    ours = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    for table, name in conn.exec_driver_sql(f"{ours} ORDER BY rowid"):
        found.setdefault(table, []).append(name)
    return found


def test_an_empty_file_has_its_indexes_in_the_order_of_the_migrations(tmp_path: Path) -> None:
    at_once, by_steps = (f"sqlite:///{tmp_path / name}" for name in ("a.db", "b.db"))
    on(at_once, fresh.make)
    on(by_steps, migrations.upgrade)

    assert on(at_once, indexes_made) == on(by_steps, indexes_made)
    assert len(on(at_once, indexes_made)["jobs"]) > 10


def upgraded_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "crawlyard.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def filled(connection: Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.exec_driver_sql(statement)


async def test_what_the_first_schema_holds_is_kept(empty: str) -> None:
    folder_of(empty)
    on(empty, lambda c: upgraded_to(c, "0001"))
    on(empty, lambda c: filled(c, OF_THE_FIRST_SCHEMA))

    store = await open_sql_store(empty)

    [standing] = await store.jobs.find(JobQuery(), 10)
    job = standing.job
    assert (job.id, job.owner, job.state) == ("a-job", "ada", State.PAUSED)
    assert (job.since, job.origin, job.spec.retention) == (job.updated_at, DIRECT, None)
    for asked in ("host:h", "http://H", "created_before:1970-01-02"):
        assert len(await store.jobs.find(JobQuery(where=parse(asked)), 10)) == 1, asked
    assert await store.jobs.find(JobQuery(where=parse("host:other")), 10) == []
    paused, event = job.moved(Move.CANCEL, NOW, actor="ada")
    await store.jobs.save(paused, event)
    told = await store.events.events()
    assert [(e.seq, e.subject, e.owner) for e in told] == [
        (1, "a-job", "ada"),
        (2, "gone", "local"),
        (3, "a-job", "ada"),
    ]
    await store.close()


OF_THE_FIRST_SCHEMA = """
INSERT INTO jobs (id, owner, name, search, spec, state, state_reason, detail, version,
  priority, turn, created_at, updated_at, queued_at, due_at, failures, losses)
VALUES ('a-job', 'ada', '', 'http://h/', '{"urls":["http://h/"]}', 'paused', 'by_user', '', 2,
  1, 0, 1000000, 2000000, 1000000, 1000000, 0, 0);
INSERT INTO shards (job_no, shard, attempt, seq, pages, bytes, duration, errors, discovered,
  done, skipped, redirects, pulse, current_url)
SELECT no, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}', '' FROM jobs;
INSERT INTO events (job_id, name, at, actor, data)
VALUES ('a-job', 'job.paused', 2000000, 'ada', '{}'),
  ('gone', 'job.deleted', 2000000, 'ada', '{}')
"""


async def test_durations_of_years_are_what_they_were(empty: str) -> None:
    folder_of(empty)
    on(empty, lambda c: upgraded_to(c, "0001"))
    on(empty, lambda c: filled(c, OF_THE_FIRST_SCHEMA))
    with_years = text("UPDATE jobs SET spec = :spec")
    on(empty, lambda c: c.execute(with_years, {"spec": SPEC_WITH_YEARS}))

    store = await open_sql_store(empty)

    [standing] = await store.jobs.find(JobQuery(), 10)
    spec = standing.job.spec
    await store.close()
    assert (spec.name, spec.retention) == ('"retention":"P1Y', FOREVER)
    assert (spec.limits.duration, spec.timeout) == (
        timedelta(days=400, hours=3),
        timedelta(minutes=90),
    )


SPEC_WITH_YEARS = r"""{"urls":["http://h/"],"name":"\"retention\":\"P1Y","retention":"P100Y",
"limits":{"duration":"P1Y35DT3H"},"timeout":"PT1H30M"}"""


async def test_jobs_that_there_were_are_counted_by_tag_and_origin(empty: str) -> None:
    folder_of(empty)
    on(empty, lambda c: upgraded_to(c, "0009"))
    on(empty, lambda c: filled(c, OF_THE_NINTH_SCHEMA))

    store = await open_sql_store(empty)

    for janitor in (False, True):
        found = {}
        for asked in ("tag:daily", "-tag:daily", "tag:shop", *map("origin:{}".format, Source)):
            query = JobQuery(where=parse(asked))
            counts = await store.jobs.counts(query)
            assert counts == await counted(store, query), (asked, janitor)
            found[asked] = sum(counts.values())
        assert [*found.values()] == [3, 1, 1, 1, 1, 1, 1], janitor
        await store.upkeep.tidy()
    kept = "SELECT term, owner, state, jobs FROM term_tallies WHERE substr(term, 1, 4) = 'tag:'"
    assert sorted(on(empty, lambda c: [tuple(row) for row in c.exec_driver_sql(kept)])) == [
        ("tag:daily", "ada", "failed", 1),
        ("tag:daily", "ada", "paused", 1),
        ("tag:daily", "bob", "paused", 1),
        ("tag:shop", "ada", "failed", 1),
    ]
    await store.close()


# a job that is deleted; and, as one process may leave them, steps that nobody has summed up
OF_THE_NINTH_SCHEMA = """
INSERT INTO jobs (id, owner, name, spec, state, state_reason, detail, version, priority, level,
  turn, created_at, updated_at, since, queued_at, due_at, failures, losses, given, by_grant, needs,
  spread, ready, tail, dated, retry_of, schedule_id, template_id, deleted_at)
SELECT id, owner, '', '{"urls":["http://h/"]}', state, 'by_user', '', 2, 1, 1, 0, 1, 2, 1, 1, 1, 0,
  0, '[]', '[]', '', 0, 0, id, 0, retry_of, schedule_id, template_id, deleted_at
FROM (SELECT 'jobA' AS id, 'ada' AS owner, 'paused' AS state, 'x' AS retry_of,
  's' AS schedule_id, 't' AS template_id, CAST(NULL AS BIGINT) AS deleted_at
  UNION ALL SELECT 'jobB', 'ada', 'failed', NULL, 's', 't', NULL
  UNION ALL SELECT 'jobC', 'bob', 'paused', NULL, NULL, 't', NULL
  UNION ALL SELECT 'jobD', 'bob', 'paused', NULL, NULL, NULL, NULL
  UNION ALL SELECT 'gone', 'bob', 'paused', NULL, NULL, NULL, 3) AS made;
INSERT INTO shards (job_no, shard, attempt, seq, pages, bytes, duration, errors, discovered,
  done, skipped, redirects, pulse, current_url, budget, deaths)
SELECT no, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '{}', '', '{}', 0 FROM jobs;
INSERT INTO job_tags (job_no, tag) SELECT no, 'daily' FROM jobs WHERE id != 'jobD';
INSERT INTO job_tags (job_no, tag) SELECT no, 'shop' FROM jobs WHERE id IN ('jobB', 'gone');
INSERT INTO tallies (owner, state, priority, jobs) VALUES ('ada', 'paused', 1, 2);
INSERT INTO tally_steps (owner, state, priority, jobs) VALUES ('ada', 'paused', 1, -1),
  ('ada', 'failed', 1, 1), ('bob', 'paused', 1, 2)
"""


@pytest.mark.parametrize("over_the_api", [False, True])
async def test_what_only_local_commands_can_have_made_is_trusted_from_then_on(
    empty: str, *, over_the_api: bool
) -> None:
    folder_of(empty)
    on(empty, lambda c: upgraded_to(c, "0003"))
    on(empty, lambda c: filled(c, OF_THE_THIRD_SCHEMA))
    if over_the_api:
        on(empty, lambda c: filled(c, A_TOKEN))

    store = await open_sql_store(empty)

    mine = await store.templates.get("mine")
    theirs = await store.templates.get("theirs")
    schedule = await store.schedules.get("hourly")
    await store.close()
    trusted = (mine.trusted, theirs.trusted, schedule.trusted)
    assert trusted == (not over_the_api, False, not over_the_api)


OF_THE_THIRD_SCHEMA = """
INSERT INTO templates (id, owner, name, search, public, version, created_at)
VALUES ('mine', 'local', 'mine', '', false, 1, 0), ('theirs', 'ada', 'theirs', '', false, 1, 0);
INSERT INTO template_versions (template_id, version, name, description, public, spec, parameters,
  updated_at, actor)
VALUES ('mine', 1, 'mine', '', false, '{}', '[]', 0, 'local'),
  ('theirs', 1, 'theirs', '', false, '{}', '[]', 0, 'ada');
INSERT INTO schedules (id, owner, name, search, plan, fresh_beat, beat, version, created_at,
  updated_at)
VALUES ('hourly', 'local', 'hourly', '', '{"when": "@hourly"}', 0, 1, 1, 0, 0)
"""
A_TOKEN = """
INSERT INTO credentials (id, kind, user_id, label, prefix, digest, created_at)
VALUES ('0192', 'token', 'local', '', '', '', 0)
"""


async def test_the_program_knows_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "crawlyard.store:migrations")

    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA]


async def test_the_local_user_is_an_admin(empty: str) -> None:
    await (await open_sql_store(empty)).close()

    users = on(empty, lambda c: c.execute(text("SELECT id, role FROM users")).all())
    assert users == [("local", "admin")]


async def test_a_newer_schema_refuses_an_older_program(empty: str) -> None:
    await (await open_sql_store(empty)).close()
    on(empty, lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0999'")))

    with pytest.raises(SchemaMismatch, match=f"schema 0999, .* knows only {SCHEMA}"):
        await open_sql_store(empty)

    on(empty, lambda c: c.execute(text(f"UPDATE alembic_version SET version_num = '{SCHEMA}'")))
    await (await open_sql_store(empty)).close()


async def test_a_state_that_is_not_of_the_lifecycle_is_refused(empty: str) -> None:
    store = await open_sql_store(empty)
    job = a_job()
    await store.jobs.add(job, its_event(job))
    await store.close()

    with pytest.raises(IntegrityError):
        on(empty, lambda c: c.execute(text("UPDATE jobs SET state = 'pausing'")))


async def test_a_migration_that_fails_leaves_nothing_behind(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by, name = (migrations, "upgrade") if is_postgres(empty) else (fresh, "make")
    work: Callable[[Connection], None] = getattr(made_by, name)

    def interrupted(connection: Connection) -> None:
        work(connection)
        raise MemoryError

    monkeypatch.setattr(made_by, name, interrupted)
    with pytest.raises(MemoryError):
        await open_sql_store(empty)

    monkeypatch.undo()
    await (await open_sql_store(empty)).close()
