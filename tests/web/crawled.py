"""Jobs that a worker has had, without a worker."""

import json
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL
from crawlyard.core.crawl.page import Body, ErrorKind, Skipped
from crawlyard.core.jobs.checkpoint import Checkpoint
from crawlyard.core.jobs.lifecycle import Move, State
from tests.builders import a_batch, a_target, done, failed
from tests.conformance.steps import claimed, recorded
from tests.web.rig import Rig

HOSTILE = "<script>alert(1)</script> Ünïcode"
HEADERS = (("Content-Type", "text/html; charset=utf-8"), ("X-A", "1"))


PICTURE = b"\x89PNG\r\n\x1a\n, in short"


async def crawled(rig: Rig, by: str = LOCAL.id, **form: Any) -> tuple[str, Checkpoint]:
    """Return the id of a running job of three pages, and its worker's last checkpoint.

    "good" is answered, "slow" and "gone" fail, "next" waits, two URLs are skipped.
    """
    job = await rig.job(by, **form)
    return job["id"], await crawl(rig, job["id"])


async def crawl(rig: Rig, job_id: str) -> Checkpoint:
    """Crawl the same three pages for a pending job."""
    store = rig.yard.store
    claim = await claimed(store, (await store.jobs.get(job_id)).job)
    good, slow, missing, waiting = (a_target(p) for p in ("good", "slow", "gone", "next"))
    bodies = {
        Body.TEXT: HOSTILE.encode(),
        Body.HTML: HOSTILE.encode(),
        Body.HEADERS: json.dumps(HEADERS).encode(),
        Body.SCREENSHOT: PICTURE,
    }
    outcomes = [
        done(
            good,
            bodies,
            title="=good",
            content_type="text/html; charset=utf-8",
            needs_scripts=True,
        ),
        failed(slow),
        failed(missing, ErrorKind.HTTP_4XX, status=404),
    ]
    skipped = [
        Skipped(a_target("secret"), "robots: Disallow: /secret"),
        Skipped(a_target("x", host="other.example"), "scope: other host"),
    ]
    batch = a_batch([good, slow, missing, replace(waiting, parent=good.fp)], outcomes, skipped)
    return await recorded(store, claim.lease, batch)


async def in_state(rig: Rig, state: State, by: str = LOCAL.id, **form: Any) -> str:
    """Return the id of a job in *state* with failed URLs and one that waits."""
    job_id, answer = await crawled(rig, by, **form)
    move = {
        State.PENDING: Move.REQUEUE,
        State.PAUSED: Move.PAUSE,
        State.COMPLETED: Move.COMPLETE,
        State.FAILED: Move.FAIL,
        State.CANCELLED: Move.CANCEL,
    }.get(state)
    if move is not None:
        await settle(rig, job_id, answer, move)
    return job_id


async def settle(rig: Rig, job_id: str, last: Checkpoint, move: Move) -> None:
    """Make the move of a worker, with which it ends its run."""
    job = (await rig.yard.store.jobs.get(job_id)).job
    moved = job.apply_move(move, rig.clock.now(), actor="worker:w1")
    await rig.yard.store.leases.settle(last.lease, *moved)
