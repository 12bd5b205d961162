"""Frequent queries of workers read few rows, regardless of the number of jobs."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.order import JobOrder, SortKey
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.jobs import order as orders
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, its_event
from tests.conformance.statements import planned
from tests.conformance.steps import added, requeued

SECOND = timedelta(seconds=1)
FEW = ("jobs_running", "jobs_needs")
"""Indexes that may be read from one end to the other."""


async def run_worker_queries(store: Store) -> None:
    """Ask all that a worker asks each second."""
    tagged = Asker("w1", frozenset({"eu"}))
    await store.leases.claim(tagged, NOW, LEASE)
    await store.spread.join(tagged, NOW, LEASE, in_turn=True)
    await store.queue.preempt(Asker("w1", least=Priority.URGENT), NOW, LEASE, SECOND)
    await store.leases.take_back(NOW, {"w2"}, requeued)
    await store.leases.holders()
    await store.queue.age(NOW, SECOND)
    await store.positions.find_spent_owners(NOW)


async def test_no_question_of_a_worker_reads_all_jobs(
    sqlite_template: Path, tmp_path: Path
) -> None:
    file = str(shutil.copy(sqlite_template, tmp_path))
    store = await open_sql_store(file)
    local = await store.users.get("local")
    limited = replace(local, quota=Quota(running=1), version=local.version + 1)
    await store.users.save(limited, its_event(a_job()))
    await store.close()

    plans = {step for _, steps in await planned(file, run_worker_queries) for step in steps}

    scans = {p for p in plans if p.startswith(("SCAN jobs", "SCAN shards", "SCAN part"))}
    assert {p for p in scans if p.rpartition(" INDEX ")[2] not in FEW} == set()
    assert not [plan for plan in plans if "jobs_owner" in plan]
    assert any("INDEX jobs_ready (ready=?)" in plan for plan in plans)


async def test_no_metric_of_the_queue_reads_jobs_that_are_due_later(
    sqlite_template: Path, tmp_path: Path
) -> None:
    file = str(shutil.copy(sqlite_template, tmp_path))

    async def measure(store: Store) -> None:
        await store.queue.wanted_slots(NOW)
        await store.queue.longest_wait(NOW)

    plans = {step for _, steps in await planned(file, measure) for step in steps}

    reads = {plan for plan in plans if " jobs" in plan}
    assert {p for p in reads if p.startswith("SCAN") and not p.endswith("jobs_running")} == set()
    assert any("INDEX jobs_ready (ready=?)" in plan for plan in reads)
    assert any("INDEX jobs_unready (due_at<?)" in plan for plan in reads)


@pytest.mark.parametrize(
    ("key", "index"), [(SortKey.ENDED_AT, "jobs_ended"), (SortKey.PAGES, "jobs_settled_pages")]
)
async def test_a_long_list_is_read_in_the_order_of_an_index(
    key: SortKey, index: str, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(shutil.copy(sqlite_template, tmp_path))
    store = await open_sql_store(file)
    job = await added(store)
    await store.close()
    monkeypatch.setattr(orders, "SORTED_MOST", 0)

    async def list_jobs(store: Store) -> None:
        await store.jobs.find_ordered(JobQuery(owner=job.owner), JobOrder(by=key), 50, None)

    plans = await planned(file, list_jobs)

    [steps] = [steps for statement, steps in plans if f"INDEXED BY {index}" in statement]
    assert f"jobs USING INDEX {index}" in steps[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps
