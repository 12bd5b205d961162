"""Jobs that have come some way without a worker: as pages find them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from crawlyard.core.jobs.checkpoint import Asker, Batch, Claim
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.pulse import Pulse
from tests.browser.rig import Stage

LEASE = timedelta(minutes=10)


async def begun(stage: Stage, job: Mapping[str, Any], worker: str = "w1") -> Claim:
    """Let a pending job run."""
    now = stage.yard.clock.now()
    claim = await stage.yard.store.leases.claim(Asker(worker, only=str(job["id"])), now, LEASE)
    assert claim is not None
    return claim


async def moved_on(
    stage: Stage, claims: Sequence[Claim], pulse: Pulse | None = None, **usage: Any
) -> list[Claim]:
    """Add *usage* to that of running jobs, at the pace of *pulse*; return what to go on with."""
    batch = Batch(usage=Usage(**usage), pulse=pulse or Pulse())
    entries = [(claim.lease, batch) for claim in claims]
    now = stage.yard.clock.now()
    answers = await stage.yard.store.frontier.record(entries, now, LEASE)
    return [
        Claim(lease=answer.lease, job=claim.job, shard=claim.shard)
        for claim, answer in zip(claims, answers, strict=True)
    ]


async def settled(
    stage: Stage,
    claim: Claim,
    move: Move = Move.COMPLETE,
    reason: StateReason | None = None,
    detail: str = "",
) -> None:
    """Let a running job end, or be queued again, by its worker."""
    store, now = stage.yard.store, stage.yard.clock.now()
    job = (await store.jobs.get(claim.job.id)).job
    moved = job.apply_move(move, now, actor="worker:w1", reason=reason, detail=detail)
    await store.leases.settle(claim.lease, *moved)
