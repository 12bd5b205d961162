"""Frontier store: the URLs of a job, and the checkpoints that update them."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    literal_column,
    select,
    union_all,
    update,
)

from crawlyard.core.crawl.page import ErrorKind, KnownURL, Target, TargetState, Via
from crawlyard.core.jobs.checkpoint import Batch, Checkpoint, Lease
from crawlyard.core.jobs.job import Shard
from crawlyard.core.jobs.limits import subtract_failed
from crawlyard.core.jobs.spread import buckets_of, shard_of
from crawlyard.errors import StoreUnavailable
from crawlyard.store.access.usage import add_up_usage
from crawlyard.store.codec.jobs import target_of
from crawlyard.store.codec.records import KNOWN_URLS
from crawlyard.store.crawl.record import compress_bodies, record
from crawlyard.store.db.bulk_rows import update_rows
from crawlyard.store.db.database import Database, StorePart, reads, writes
from crawlyard.store.jobs.job_rows import no_of
from crawlyard.store.jobs.shard_rules import Parts
from crawlyard.store.jobs.shards import is_dealt_to
from crawlyard.store.search.index import unindex_some
from crawlyard.store.tables.jobs import (
    FAILED,
    PRESENT,
    SEED_HOP,
    WAITING,
    bodies,
    frontier,
    jobs,
    pages,
    shards,
)

CHUNK = 50_000
"""Number of fingerprints read at once: 0.1 s and 4 MB."""

ADD_UP_AFTER = 200
"""Number of checkpoints of a process after which it adds up the usage of all.

However many processes there are, those that read usage then find some hundreds of steps.
"""

FPS_AT_ONCE = 10_000
"""Number of fingerprints that one statement looks up."""


class FrontierStore(StorePart):
    """The URLs of a job, and the checkpoints that update them."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._recorded = 0  # since usage was added up

    async def record(
        self, entries: Sequence[tuple[Lease, Batch]], now: datetime, lease: timedelta
    ) -> list[Checkpoint]:
        """Write batches of several jobs in ONE transaction; return an answer for each.

        For each entry, pages are stored, targets closed and new targets added (a known fp is
        left unchanged). Its usage is added to the job and to its owner's day, its lines to the
        job's log, which keeps the newest `MOST_LINES`. The job's course is replaced, and the
        lease is renewed until ``now + lease``. The last batch releases the lease, unless the job
        still runs: then `settle` releases it.

        A batch is accepted while its attempt is the current one, in any state of the job;
        otherwise all of it is refused and its answer is LOST, without affecting the other entries.
        A batch that was already written (the answer to its commit got lost) is answered without
        being written again. A recorded page reduces the job's losses to `LOSSES_KEPT`.
        """
        if not entries:
            return []
        # Compression is a third of the work of a batch with bodies: do it before blocking writers.
        bodies = (
            await self._database.compute(partial(compress_bodies, entries)) if _big(entries) else {}
        )
        work = partial(record, entries=entries, packed_bodies=bodies, now=now, until=now + lease)
        answers = await self._database.write(work)
        self._recorded += 1
        if self._recorded >= ADD_UP_AFTER:
            self._recorded = 0
            with suppress(StoreUnavailable):  # not essential: other processes and the janitor do it
                await self._database.write(add_up_usage)
        return answers

    @writes
    def renew(self, conn: Connection, leases: Sequence[Lease], until: datetime) -> None:
        """Renew the leases of shards until *until*, as far as they are still held."""
        rows = [
            {
                "job_no": lease.job_no,
                "shard": lease.shard,
                "attempt": lease.attempt,
                "worker": lease.worker,
                "lease_until": until,
            }
            for lease in leases
        ]
        update_rows(conn, shards, rows, ("job_no", "shard", "attempt", "worker"), with_receipt=True)

    @reads
    def load(
        self,
        conn: Connection,
        lease: Lease,
        limit: int,
        *,
        depth_first: bool,
        without: Collection[str] = (),
    ) -> list[Target]:
        """Return at most *limit* waiting targets of a job, or of the hosts of a shard.

        They are in the order of the crawl strategy. Breadth first: smallest depth first, then
        oldest first. Depth first: largest depth first, then newest first. Hosts in *without* are
        left out.
        """
        no, order = lease.job_no, (frontier.c.depth, frontier.c.id)
        mine = is_dealt_to(lease.shard, lease.of) if lease.shard else WAITING
        statement = (
            select(frontier)
            .where(frontier.c.job_no == no, mine, exists().where(jobs.c.no == no, PRESENT))
            .order_by(*((c.desc() for c in order) if depth_first else order))
            .limit(limit)
        )
        if without:
            statement = statement.where(frontier.c.host.not_in(sorted(without)))
        return [target_of(row) for row in conn.execute(statement).mappings()]

    async def read_known_fps(self, lease: Lease) -> AsyncIterator[Sequence[int]]:
        """Yield the fp of every target ever found or skipped, in chunks, in no particular order.

        They are those of a job, or of the hosts of a shard.
        """
        job_no, of_hosts = lease.job_no, False
        buckets: Sequence[int] = ()
        if lease.shard:
            buckets = buckets_of(lease.shard, lease.of)
            if not await self._database.read(partial(_is_dealt, job_no=job_no)):
                buckets, of_hosts = (), True
        walks: Sequence[Sequence[int]] = [buckets]
        while walks:
            walk, *walks = walks
            after: int | None = None
            while True:
                own = lease if of_hosts else None
                work = partial(_read_known_chunk, job_no=job_no, buckets=walk, own=own, after=after)
                fps, after = await self._database.read(work)
                if after is not None and len(walk) > 1:
                    walks = [[bucket] for bucket in walk]  # too many for one chunk
                    break
                if fps:
                    yield fps
                if after is None:
                    break

    async def filter_known(self, job_no: int, fps: Sequence[int]) -> set[int]:
        """Return those of *fps* that were ever found or skipped."""
        known_fps: set[int] = set()
        for first in range(0, len(fps), FPS_AT_ONCE):
            some = fps[first : first + FPS_AT_ONCE]
            known_fps.update(await self._database.read(partial(_among, job_no=job_no, fps=some)))
        return known_fps

    @reads
    def roots(self, conn: Connection, job_no: int) -> list[str]:
        """Return the URLs that seeds redirected to: the scope treats them as seeds."""
        return roots(conn, select(jobs.c.no).where(jobs.c.no == job_no, PRESENT))

    @reads
    def externals(self, conn: Connection, job_no: int) -> int:
        """Return the number of targets out of scope that were taken to be checked."""
        external = frontier.c.via == Via.EXTERNAL.value
        return conn.scalars(select(func.count()).where(frontier.c.job_no == job_no, external)).one()

    @reads
    def find(self, conn: Connection, job_id: str, fp: int) -> KnownURL | None:
        """Return the outcome of the URL with this fingerprint, ``None`` if the job never found it.

        *fp* is the `engine.urls.fingerprint` of the URL: URLs themselves have no index.
        """
        query = _KNOWN.where(
            frontier.c.job_no == no_of(job_id).scalar_subquery(), frontier.c.fp == fp
        )
        return KNOWN_URLS.first(conn, query)

    @reads
    def upcoming(
        self, conn: Connection, job_id: str, after: int, limit: int, states: Sequence[TargetState]
    ) -> list[KnownURL]:
        """Return at most *limit* URLs in *states* with a key above *after*, sorted by key."""
        if not states:
            return []
        ids = union_all(*(_first(job_id, state, after, limit) for state in set(states)))
        query = _KNOWN.where(frontier.c.id.in_(ids)).order_by(frontier.c.id).limit(limit)
        return KNOWN_URLS.all(conn, query)


def roots(conn: Connection, job_no: Select[int]) -> list[str]:
    """Return the URLs that seeds of a job redirected to, in the order they were found."""
    query = select(frontier.c.url).where(frontier.c.job_no == job_no.scalar_subquery(), SEED_HOP)
    return list(conn.scalars(query.order_by(frontier.c.id)))


_PARENT = frontier.alias("parent")

_KNOWN = select(*frontier.c, frontier.c.id.label("key"), _PARENT.c.url.label("parent")).select_from(
    frontier.outerjoin(
        _PARENT, (_PARENT.c.job_no == frontier.c.job_no) & (_PARENT.c.fp == frontier.c.parent_fp)
    )
)
"""Query for URLs, each with the URL of the page that links to it."""


def _first(job_id: str, state: TargetState, after: int, limit: int) -> Select[int]:
    """Return a query for the keys of a job's first URLs in one state."""
    # a literal, so that the partial indexes of waiting and skipped URLs are used
    same = frontier.c.state == literal_column(str(int(state)))
    no: ColumnElement[int] = frontier.c.job_no
    if state not in {TargetState.WAITING, TargetState.SKIPPED}:
        # `+ 0` makes SQLite walk the keys: with the index on fp, it looks up and sorts every row
        # of the job, which takes 3.7 s for a million rows instead of 0.15 s
        no = no + 0
    keys = select(frontier.c.id).where(
        no == no_of(job_id).scalar_subquery(), same, frontier.c.id > after
    )
    return select(keys.order_by(frontier.c.id).limit(limit).subquery())


def _big(entries: Sequence[tuple[Lease, Batch]]) -> bool:
    return any(outcome.bodies for _, batch in entries for outcome in batch.outcomes)


def _read_known_chunk(
    conn: Connection,
    job_no: int,
    buckets: Sequence[int],
    own: Lease | None,
    after: int | None,
) -> tuple[Sequence[int], int | None]:
    """Return a chunk of the known fps of a job, in some *buckets* or, if there are none, of all.

    Also return where the next chunk begins, ``None`` if this is the last one. With *own*, the lease
    of a shard, only those of its hosts.
    """
    # an index covers the query unless it reads hosts: the unique one, or that of buckets
    columns = (frontier.c.fp,) if own is None else (frontier.c.fp, frontier.c.host)
    there = [frontier.c.job_no == job_no, exists().where(jobs.c.no == job_no, PRESENT)]
    if buckets:
        there.append(frontier.c.bucket.in_(buckets))
    if after is not None:
        there.append(frontier.c.fp > after)
    statement = select(*columns).where(*there).limit(CHUNK)
    if len(buckets) <= 1:  # several are not walked in the order of fps
        statement = statement.order_by(frontier.c.fp)
    fps: Sequence[int]
    if own is None:
        fps = read = conn.scalars(statement).all()
    else:
        rows = conn.execute(statement).all()
        read = [row.fp for row in rows]
        fps = [row.fp for row in rows if shard_of(row.host, own.of, own.starts) == own.shard]
    return fps, read[-1] if len(read) == CHUNK else None


def _is_dealt(conn: Connection, job_no: int) -> bool:
    """Return whether all targets of a spread job have buckets."""
    return conn.scalar(select(jobs.c.dealt).where(jobs.c.no == job_no)) == 1


def _among(conn: Connection, job_no: int, fps: Sequence[int]) -> Sequence[int]:
    statement = select(frontier.c.fp).where(frontier.c.job_no == job_no, frontier.c.fp.in_(fps))
    return conn.scalars(statement).all()


def reopen(
    conn: Connection, no: int, shard: Shard, kinds: Collection[ErrorKind]
) -> tuple[Shard, int]:
    """Requeue the failed targets of *kinds* (empty: all), and delete their pages.

    Return the shard without the usage of these targets, and their number.
    """
    failed: list[ColumnElement[bool]] = [pages.c.job_no == no, FAILED]
    if kinds:
        failed.append(pages.c.error.in_([k.value for k in kinds]))
    targets, answered = conn.execute(
        select(func.count(), func.count(pages.c.status)).where(*failed)
    ).one()
    _reopen(conn, no, and_(*failed))
    usage = subtract_failed(shard.usage, targets=targets, pages=answered, errors=targets)
    return replace(shard, usage=usage), targets


def requeue(conn: Connection, parts: Parts, kinds: Collection[ErrorKind]) -> int:
    """Requeue as `reopen` does, for a job that may have shards; return the number of targets."""
    total, targets = reopen(conn, parts.job_no, parts.total, kinds)
    parts.set(0, total)
    parts.rebase()
    return targets


def _reopen(conn: Connection, no: int, failed: ColumnElement[bool]) -> None:
    fps: Select[int] = select(pages.c.fp).where(failed)
    conn.execute(
        update(frontier)
        .where(frontier.c.job_no == no, frontier.c.fp.in_(fps))
        .values(state=int(TargetState.WAITING), tries=0, due_at=None, rule="")
    )
    unindex_some(conn, failed)
    ids: Select[int] = select(pages.c.id).where(failed)
    conn.execute(delete(bodies).where(bodies.c.page_id.in_(ids)))
    conn.execute(delete(pages).where(failed))
