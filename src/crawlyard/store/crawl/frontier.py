"""Frontier store: the URLs of a job, and the checkpoints that update them."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, exists, select

from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Lease
from crawlyard.store.codec.jobs import target_of
from crawlyard.store.crawl.checkpoint import record
from crawlyard.store.crawl.record import packed
from crawlyard.store.db.transactions import StorePart, reads
from crawlyard.store.tables.jobs import PRESENT, SEED_HOP, WAITING, frontier, jobs

CHUNK = 50_000
"""Number of fingerprints read at once: 0.1 s and 4 MB."""


class FrontierStore(StorePart):
    """The URLs of a job, and the checkpoints that update them."""

    async def record(
        self, entries: Sequence[tuple[Lease, Batch]], now: datetime, lease: timedelta
    ) -> list[Checkpoint]:
        """Write batches of several jobs in ONE transaction; return an answer for each.

        For each entry, pages are stored, targets closed and new targets added (a known fp is
        left unchanged). Its usage is added to the job and to its owner's day, its lines to the
        job's log, of which the newest `MOST_LINES` are kept. The job's course is replaced, and the
        lease is renewed until ``now + lease``. The last batch releases the lease, unless the job
        still runs: then `settle` releases it.

        A batch is accepted while its attempt is the current one, whatever the job's state;
        otherwise all of it is refused and its answer is LOST, without affecting the other entries.
        A batch that was already written (the answer to its commit got lost) is answered without
        being written again. A recorded page sets the job's losses to 0.
        """
        if not entries:
            return []
        # Compression is a third of the work of a batch with bodies: do it before blocking writers.
        bodies = await self._database.compute(partial(packed, entries)) if _big(entries) else {}
        work = partial(record, entries=entries, given=bodies, now=now, until=now + lease)
        return await self._database.write(work)

    @reads
    def load(
        self,
        conn: Connection,
        job_no: int,
        limit: int,
        *,
        depth_first: bool,
        without: Collection[str] = (),
    ) -> list[Target]:
        """Return at most *limit* waiting targets in the order of the crawl strategy.

        Breadth first: smallest depth first, then oldest first. Depth first: largest depth first,
        then newest first. Hosts in *without* are left out.
        """
        without = sorted(without)
        order = (frontier.c.depth, frontier.c.id)
        statement = (
            select(frontier)
            .where(
                frontier.c.job_no == job_no, WAITING, exists().where(jobs.c.no == job_no, PRESENT)
            )
            .order_by(*((c.desc() for c in order) if depth_first else order))
            .limit(limit)
        )
        if without:
            statement = statement.where(frontier.c.host.not_in(without))
        return [target_of(row) for row in conn.execute(statement).mappings()]

    async def known(self, job_no: int) -> AsyncIterator[Sequence[int]]:
        """Yield the fp of every target ever found or skipped, in chunks, in no particular order."""
        after: int | None = None
        while True:
            fps = await self._database.read(partial(_known, job_no=job_no, after=after))
            if fps:
                yield fps
            if len(fps) < CHUNK:
                return
            after = fps[-1]

    @reads
    def roots(self, conn: Connection, job_no: int) -> list[str]:
        """Return the URLs that seeds redirected to: the scope treats them as seeds."""
        statement = (
            select(frontier.c.url)
            .where(
                frontier.c.job_no == job_no, SEED_HOP, exists().where(jobs.c.no == job_no, PRESENT)
            )
            .order_by(frontier.c.id)
        )
        return list(conn.scalars(statement))


def _big(entries: Sequence[tuple[Lease, Batch]]) -> bool:
    return any(outcome.bodies for _, batch in entries for outcome in batch.outcomes)


def _known(conn: Connection, job_no: int, after: int | None) -> Sequence[int]:
    # walks the unique index, which covers the query
    statement = (
        select(frontier.c.fp)
        .where(frontier.c.job_no == job_no, exists().where(jobs.c.no == job_no, PRESENT))
        .order_by(frontier.c.fp)
        .limit(CHUNK)
    )
    if after is not None:
        statement = statement.where(frontier.c.fp > after)
    return conn.scalars(statement).all()
