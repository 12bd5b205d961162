"""Jobs that are due later: a claim does not pass them one by one, and finds them in time."""

import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.jobs.claims import FIRST_LOOK
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs
from tests.builders import LEASE, NOW, a_spec
from tests.conformance.statements import planned
from tests.conformance.steps import added, moved

LATER = NOW + timedelta(hours=1)


async def claims(store: Store, now: datetime) -> list[str]:
    """Return the jobs that are claimed until none is left, in their order."""
    job_ids = []
    while (claim := await store.leases.claim(Asker("w1"), now, LEASE)) is not None:
        job_ids.append(claim.job.id)
    return job_ids


async def test_jobs_that_become_due_are_claimed_in_the_order_of_all(store: Store) -> None:
    at_once = await added(store)
    late = await added(store, due_at=LATER)
    urgent = await added(store, due_at=LATER, spec=a_spec(priority=Priority.URGENT))

    first = await claims(store, NOW)
    then = await claims(store, LATER)

    assert first == [at_once.id]
    assert then == [urgent.id, late.id]


async def test_a_job_that_is_hurried_is_claimed_before_its_time(store: Store) -> None:
    late = await added(store, due_at=LATER)
    await moved(store, late.id, Move.RETRY_NOW)

    assert await claims(store, NOW) == [late.id]


async def test_a_claim_on_sqlite_reads_indexes_of_what_is_due_alone(
    sqlite_template: Path, tmp_path: Path
) -> None:
    file = str(shutil.copy(sqlite_template, tmp_path))

    plan_steps = await planned(file, lambda store: store.leases.claim(Asker("w1"), NOW, LEASE))
    plans = [step for _, steps in plan_steps for step in steps if "jobs" in step]

    assert "SEARCH jobs USING INDEX jobs_ready (ready=?)" in plans
    assert any("USING COVERING INDEX jobs_unready (due_at<?)" in plan for plan in plans)


@pytest.mark.postgres
async def test_a_claim_on_postgres_skips_later_jobs_under_any_plan(
    postgres_url: str,
) -> None:
    store = await open_sql_store(postgres_url)
    await added(store, due_at=LATER)
    await store.close()

    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    look = re.sub(r"%\(param_\d+\)s", "1", str(FIRST_LOOK.compile(engine)))  # of LIMIT
    look = look.replace("%(now)s", "$1")
    other_columns = ", ".join(column.name for column in jobs.c if column.name not in {"no", "id"})
    with engine.begin() as conn:
        conn.exec_driver_sql(
            f"INSERT INTO jobs (id, {other_columns})"
            f" SELECT gen_random_uuid()::text, {other_columns} FROM jobs, generate_series(1, 5000)"
        )
        conn.exec_driver_sql("ANALYZE jobs")
        # as after some runs: one plan for all parameters
        conn.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
        conn.exec_driver_sql(f"PREPARE look (bigint) AS {look}")
        plan = conn.exec_driver_sql("EXPLAIN EXECUTE look (1)")
        steps = [step for (step,) in plan]
    engine.dispose()

    assert any("using jobs_unready on jobs" in step for step in steps)
    assert not any("Seq Scan on jobs" in step for step in steps)
