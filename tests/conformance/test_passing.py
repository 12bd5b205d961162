"""A claim with much in its way: jobs of owners who wait, and many that become due at once."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.jobs import claims
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, a_spec, its_event
from tests.builders_serve import kept_user, quoted
from tests.conformance.steps import added, claimed

LOW, NORMAL, HIGH, URGENT = sorted(Priority)
LATER = NOW + timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows are as many as a claim looks at, or marks, before it goes on otherwise."""
    monkeypatch.setattr(claims, "NEAR", 2)
    monkeypatch.setattr(claims, "PORTION", 2)
    claims.first_near_head.cache_clear()


async def claim_all(store: Store, asker: Asker = Asker("w1"), most: int = 100) -> list[str]:  # noqa: B008
    """Claim all jobs; return their ids in the order of the claims."""
    job_ids: list[str] = []
    while len(job_ids) < most and (claim := await store.leases.claim(asker, LATER, LEASE)):
        job_ids.append(claim.job.id)
    return job_ids


async def owned(store: Store, owner: str, *priorities: Priority, **fields: Any) -> list[Job]:
    """Return jobs of an owner that wait."""
    return [await added(store, a_job(owner=owner, priority=p, **fields)) for p in priorities]


async def test_the_first_job_of_all_other_owners_is_found_behind_those_of_one_who_waits(
    store: Store,
) -> None:
    await quoted(store, "ada", running=0)
    await owned(store, "ada", *[URGENT] * 5, *[LOW] * 5)
    for name in ("bob", "eve"):
        await kept_user(store, id=name)
    low, high = await owned(store, "bob", LOW, HIGH)
    (normal,) = await owned(store, "eve", NORMAL)

    assert await claim_all(store) == [high.id, normal.id, low.id]


async def test_conditions_of_a_claim_hold_also_behind_jobs_over_quota(store: Store) -> None:
    await quoted(store, "ada", running=0)
    await owned(store, "ada", *[URGENT] * 5)
    await kept_user(store, id="bob")
    tagged = await added(store, owner="bob", spec=a_spec(priority=HIGH, worker_tags=("eu",)))
    normal, second, _ = await owned(store, "bob", NORMAL, NORMAL, LOW)
    claim = await claimed(store, second, "w9")

    urgent_alone = await claim_all(store, Asker("w1", least=URGENT))
    normal_at_least = await claim_all(store, Asker("w1", least=NORMAL))
    with_tag = await claim_all(store, Asker("w2", frozenset({"eu"}), least=NORMAL))

    assert urgent_alone == []
    assert normal_at_least == [normal.id]
    assert with_tag == [tagged.id]
    assert claim.job.id == second.id


async def test_an_urgent_job_behind_them_takes_a_slot_as_well(store: Store) -> None:
    await quoted(store, "ada", running=0)
    await kept_user(store, id="bob")
    (low,) = await owned(store, "bob", LOW)
    await claimed(store, low)
    await owned(store, "ada", *[URGENT] * 5)
    (urgent,) = await owned(store, "bob", URGENT)

    preemption = await store.queue.preempt(Asker("w1", least=URGENT), NOW + SECOND, LEASE, SECOND)

    assert preemption is not None
    assert (preemption.claim.job.id, preemption.yielded.id) == (urgent.id, low.id)


@pytest.mark.parametrize("seed", range(4))
async def test_they_are_passed_over_in_the_order_of_all_others(store: Store, seed: int) -> None:
    chance, plain = Random(seed), open_in_memory()
    owners = [f"user{n}" for n in range(5)]
    for there in (store, plain):
        for n, owner in enumerate(owners):
            await quoted(there, owner, running=0 if n < 2 else None)
    for _ in range(80):
        job = a_job(
            owner=chance.choice(owners),
            due_at=chance.choice((NOW, LATER + SECOND)),
            spec=a_spec(
                priority=chance.choice(list(Priority)),
                worker_tags=chance.choice(((), (), ("eu",))),
            ),
        )
        for there in (store, plain):
            await there.jobs.add(job, its_event(job))

    orders = [await claim_all(there, Asker("w1", frozenset(), LOW)) for there in (store, plain)]

    assert orders[0] == orders[1]
    assert len(orders[0]) > 5


async def test_no_level_is_left_out_when_more_become_due_than_one_claim_marks(
    store: Store,
) -> None:
    lows = await owned(store, "local", *[LOW] * 3, due_at=LATER - SECOND)
    urgents = await owned(store, "local", *[URGENT] * 5, due_at=LATER)
    (at_once,) = await owned(store, "local", NORMAL)

    job_ids = await claim_all(store)

    assert job_ids[:6] == [*(job.id for job in urgents), at_once.id]
    assert sorted(job_ids[6:]) == sorted(job.id for job in lows)


async def test_jobs_that_a_worker_cannot_take_do_not_hide_others_that_became_due_with_them(
    store: Store,
) -> None:
    for _ in range(5):
        await added(store, due_at=LATER - SECOND, spec=a_spec(priority=HIGH, worker_tags=("eu",)))
    (high,) = await owned(store, "local", HIGH, due_at=LATER)
    (low,) = await owned(store, "local", LOW)

    assert await claim_all(store) == [high.id, low.id]


async def test_a_claim_for_one_job_ignores_other_due_jobs(store: Store) -> None:
    await owned(store, "local", *[URGENT] * 5, due_at=LATER)
    (low,) = await owned(store, "local", LOW, due_at=LATER)

    assert await claim_all(store, Asker("w1", only=low.id)) == [low.id]


async def test_a_claim_marks_a_portion_of_what_becomes_due_the_highest_and_first_due_of_all(
    tmp_path: Path,
) -> None:
    store = await open_sql_store(tmp_path / "crawlyard.db")
    try:
        await owned(store, "local", HIGH, HIGH, due_at=LATER)
        (sooner,) = await owned(store, "local", HIGH, due_at=LATER - SECOND)
        await owned(store, "local", *[LOW] * 5, due_at=LATER - 2 * SECOND)

        assert sooner.id not in await claim_all(store, most=1)  # it has the later turn
    finally:
        await store.close()
    with closing(sqlite3.connect(tmp_path / "crawlyard.db")) as conn:
        marked = conn.execute("SELECT id, level FROM jobs WHERE ready = 1").fetchall()
    assert sooner.id in {job_id for job_id, _ in marked}
    assert [level for _, level in marked] == [HIGH.rank, HIGH.rank]
