"""A process that is killed at any instant: what it heard of is there, nothing is half there."""

import asyncio
import sys
from pathlib import Path

import pytest

from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.store.queries import PageQuery
from tests.builders import LEASE, NOW, a_job, its_event
from tests.conformance.conftest import Backend
from tests.conformance.steps import fingerprints, requeued

CRAWL = """
import asyncio, sys
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.store.open import open_sql_store
from tests.builders import LEASE, NOW, a_batch, a_target, done

async def crawl(where, job_id):
    store = await open_sql_store(where)
    claim = await store.leases.claim(Asker("killed", only=job_id), NOW, LEASE)
    lease = claim.lease
    while True:
        targets = [a_target(f"{lease.seq}/{n}") for n in range(20)]
        ended = [done(target) for target in targets[:10]]
        [answer] = await store.frontier.record([(lease, a_batch(targets, ended))], NOW, LEASE)
        lease = answer.lease
        print(lease.seq, flush=True)

asyncio.run(crawl(*sys.argv[1:]))
"""


@pytest.mark.parametrize("backend", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("after", [1, 7, 20])
async def test_a_killed_worker_loses_at_most_its_last_batch(backend: Backend, after: int) -> None:
    store = await backend.open()
    job = a_job()
    await store.jobs.add(job, its_event(job))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CRAWL, backend.where, job.id),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],  # where `tests` is
    )
    assert process.stdout is not None
    acknowledged = [int(await process.stdout.readline()) for _ in range(after)]

    process.kill()
    acknowledged += [int(line) for line in (await process.stdout.read()).split()]
    await process.wait()
    # on Postgres its session may live a moment longer, with the job locked
    while not await store.leases.take_back(NOW, ["killed"], requeued):
        pass
    again = await store.leases.claim(Asker("w2", only=job.id), NOW, LEASE)

    assert again is not None
    shard = again.shard
    assert acknowledged[-1] <= shard.seq <= acknowledged[-1] + 1
    assert (shard.usage.pages, shard.usage.discovered) == (10 * shard.seq, 20 * shard.seq)
    pages = await store.pages.pages(job.id, PageQuery(), 10_000)
    waiting = await store.frontier.load(again.lease, 10_000, depth_first=False)
    assert len(pages) == len(waiting) == 10 * shard.seq
    assert len(await fingerprints(store, again.lease.job_no)) == 20 * shard.seq
    await store.close()
