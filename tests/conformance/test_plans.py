"""What workers ask again and again reads few rows, however many jobs there are or ever were."""

import shutil
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from crawlyard.core.access.user import Quota
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, its_event
from tests.conformance.statements import planned
from tests.conformance.steps import requeued

SECOND = timedelta(seconds=1)
FEW = ("jobs_running", "jobs_needs")
"""Indexes that may be read from one end to the other."""


async def asked_by_workers(store: Store) -> None:
    """Ask all that a worker asks each second."""
    tagged = Asker("w1", frozenset({"eu"}))
    await store.leases.claim(tagged, NOW, LEASE)
    await store.spread.join(tagged, NOW, LEASE, in_turn=True)
    await store.queue.preempt(Asker("w1", least=Priority.URGENT), NOW, LEASE, SECOND)
    await store.leases.take_back(NOW, {"w2"}, requeued)
    await store.leases.holders()
    await store.queue.age(NOW, SECOND)
    await store.queue.spent(NOW)


async def test_no_question_of_a_worker_reads_all_jobs(
    sqlite_template: Path, tmp_path: Path
) -> None:
    file = str(shutil.copy(sqlite_template, tmp_path))
    store = await open_sql_store(file)
    local = await store.users.get("local")
    limited = replace(local, quota=Quota(running=1), version=local.version + 1)
    await store.users.save(limited, its_event(a_job()))
    await store.close()

    plans = {step for _, steps in await planned(file, asked_by_workers) for step in steps}

    scans = {p for p in plans if p.startswith(("SCAN jobs", "SCAN shards", "SCAN part"))}
    assert {p for p in scans if p.rpartition(" INDEX ")[2] not in FEW} == set()
    assert not [plan for plan in plans if "jobs_owner" in plan]
    assert any("INDEX jobs_ready (ready=?)" in plan for plan in plans)
