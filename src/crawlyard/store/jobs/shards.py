"""Shard rows of a job: reading, locking and writing them, and finding their waiting targets."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    bindparam,
    case,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from crawlyard.core.crawl.page import Target
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.spread import BUCKETS, Extent, Starts, bucket_of, buckets_of
from crawlyard.core.jobs.spread import shard_of as shard_of_host
from crawlyard.store.codec.jobs import shard_of, shard_row
from crawlyard.store.crawl.journal import UNNUMBERED
from crawlyard.store.db.bulk_rows import insert_new, update_rows
from crawlyard.store.db.connection import gather_due
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.faults import Overtaken
from crawlyard.store.jobs.job_rows import settle_pages
from crawlyard.store.jobs.shard_rules import BEFORE_CUT, Parts, to_yield
from crawlyard.store.tables.jobs import (
    DEALT,
    HELD,
    IN_BUCKET,
    PRESENT,
    RUNNING,
    WAITING,
    frontier,
    jobs,
    shards,
)

DEAL_AT_ONCE = 10_000
"""Number of frontier rows that one statement assigns to buckets."""

IS_PART = shards.c.shard > 0


def lock_parts(conn: Connection, no: int) -> tuple[RowMapping, Parts] | None:
    """Return the row of a job, and its shards with the totals added up.

    The job and its shard 0 are locked until the transaction ends. Other shards are not: if one
    that is written has been changed meanwhile, the transaction begins again.

    ``None``: there is no such job, or it is deleted.
    """
    on_postgres = is_postgres(conn)
    rows = conn.execute(_lock_job(on_postgres), {"its_no": no}).mappings().all()
    if not rows:
        return None
    row = next(row for row in rows if row["shard"] == 0)
    parts = decode_parts(no, rows, row["spread"])
    parts.in_turn = bool(row["in_turn"])
    if parts.count:
        parts.add_up()
    if State(row["state"]) is not State.RUNNING:
        settle_pages(conn, no, row["settled_pages"], parts.total.usage.pages)
    return row, parts


@cache
def _lock_job(on_postgres: bool) -> Select[Any]:  # noqa: FBT001 - a key of the cache
    """Return a query for a job, locked with its shard 0, and each of its shards.

    Shards are read once both are locked, by the same statement, as others wait for the lock.
    """
    is_the_job = (jobs.c.no == bindparam("its_no", type_=BigInteger), PRESENT)
    if not on_postgres:  # one writer at a time: there is nothing to lock
        every_shard = jobs.join(shards, shards.c.job_no == jobs.c.no)
        return select(*jobs.c, UNNUMBERED, *shards.c).select_from(every_shard).where(*is_the_job)
    first_shard = jobs.join(shards, (shards.c.job_no == jobs.c.no) & (shards.c.shard == 0))
    query = select(*jobs.c, UNNUMBERED).select_from(first_shard).where(*is_the_job)
    job = query.with_for_update(of=[jobs, shards], key_share=True).cte("job")
    shard_columns = (column(shard_column.name, shard_column.type) for shard_column in shards.c)
    part = func.shards_of_job(job.c.no).table_valued(*shard_columns, joins_implicitly=True)
    # the spec may be megabytes: once is enough
    spec = case((part.c.shard == 0, job.c.spec)).label("spec")
    other_columns = (job_column for job_column in job.c if job_column.name != "spec")
    return select(*other_columns, spec, *part.c)


_TOTALS = (
    select(shards.c.shard)
    .where(shards.c.job_no == bindparam("its_no", type_=BigInteger), shards.c.shard == 0)
    .with_for_update(skip_locked=True, key_share=True)
)


def lock_totals(conn: Connection, no: int) -> bool:
    """Lock the totals of a job, its shard 0, and return True; False if they are locked already."""
    return conn.scalar(_TOTALS, {"its_no": no}) is not None


def read_parts(conn: Connection, no: int, count: int) -> Parts:
    """Return the stored shards of a job that is cut into *count*."""
    rows = conn.execute(select(shards).where(shards.c.job_no == no)).mappings()
    return decode_parts(no, rows, count)


def decode_parts(no: int, rows: Iterable[RowMapping], count: int = 0) -> Parts:
    """Return the shards of a job in *rows*."""
    stored = {row["shard"]: shard_of(row) for row in rows}
    return Parts(
        job_no=no,
        total=stored[0],
        before=stored.get(BEFORE_CUT),
        shards={number: shard for number, shard in stored.items() if number > 0},
        count=count,
        stored=dict(stored),
    )


def read_parts_of_jobs(conn: Connection, job_nos: Collection[int]) -> list[Parts]:
    """Return the stored shards of jobs, which are locked; the number in use is not read."""
    query = select(shards).where(shards.c.job_no.in_(job_nos)).order_by(shards.c.job_no)
    rows = groupby(conn.execute(query).mappings(), key=itemgetter("job_no"))
    return [decode_parts(no, rows_of_job) for no, rows_of_job in rows]


_VERSION_COLUMNS = ("attempt", "seq", "worker", "freed_at")
"""Columns that show whether a shard has changed: its worker, its checkpoints, whether it yields."""


def write_parts(conn: Connection, *parts_of_jobs: Parts) -> None:
    """Write the changed shards of jobs, and insert new ones.

    Raises:
        Overtaken: a shard has changed since it was read.
    """
    rows, new = [], []
    for parts in parts_of_jobs:
        for number in sorted(parts.touched):
            shard, stored = parts.get(number), parts.stored.get(number)
            if shard is None:
                continue
            row = {"job_no": parts.job_no, "shard": number} | shard_row(shard)
            if stored is None:
                new.append(row)
            else:
                was = shard_row(stored)
                rows.append(row | {f"was_{name}": was[name] for name in _VERSION_COLUMNS})
            parts.stored[number] = shard
        parts.touched.clear()
    if update_rows(
        conn, shards, rows, ("job_no", "shard"), was=_VERSION_COLUMNS, with_receipt=True
    ) < len(rows):
        raise Overtaken
    if insert_new(conn, shards, new) < len(new):
        raise Overtaken


def order_one_release(conn: Connection, no: int, count: int, worker: str, now: datetime) -> int:
    """Order *worker* to release one of several leased shards; return which, 0 for the whole job.

    The caller has locked the row of the job, which is cut into *count*.
    """
    parts = read_parts(conn, no, count)
    number = to_yield(parts, worker) or 0
    if number:
        parts.shards[number] = replace(parts.shards[number], freed_at=now, asked_by=None)
        order_release(conn, parts, [number])
    return number


def order_release(conn: Connection, parts: Parts, numbers: Collection[int]) -> None:
    """Order the holders of shards to release them: store when, and for which worker.

    Raises:
        Overtaken: one of the shards has another holder by now, or has none.
    """
    if not numbers:
        return
    # these columns only, as the holders write the others meanwhile
    rows = [
        {
            "job_no": parts.job_no,
            "shard": number,
            "freed_at": parts.shards[number].freed_at,
            "asked_by": parts.shards[number].asked_by,
            "was_attempt": parts.stored[number].attempt,
            "was_worker": parts.stored[number].worker,
        }
        for number in numbers
    ]
    was = ("attempt", "worker")
    if update_rows(conn, shards, rows, ("job_no", "shard"), was=was, with_receipt=True) < len(rows):
        raise Overtaken


def store_shard_count(conn: Connection, parts: Parts) -> None:
    """Store the number of shards that a job is cut into, and how its start hosts are dealt."""
    values = {"spread": parts.count, "in_turn": int(parts.in_turn)}
    conn.execute(update(jobs).where(jobs.c.no == parts.job_no).values(values))


def assign_buckets(conn: Connection, no: int, starts: Starts) -> bool:
    """Set the bucket of each waiting target of a job that has none, by its host.

    Return whether all targets have one: those that were closed before the job was spread don't.
    """
    count = select(func.count()).where(frontier.c.job_no == no)
    counts = (count.scalar_subquery(), count.where(IN_BUCKET).scalar_subquery())
    # two indexes have the counts; to find that all have a bucket, the table would be read
    targets, in_bucket = conn.execute(select(*counts)).one()
    if targets == in_bucket:
        return True
    has_no_bucket = (frontier.c.job_no == no, WAITING, frontier.c.bucket.is_(None))
    statement = select(frontier.c.id, frontier.c.host).where(*has_no_bucket).limit(DEAL_AT_ONCE)
    while batch := conn.execute(statement).all():
        rows = [{"id": row_id, "bucket": bucket_of(host, starts)} for row_id, host in batch]
        update_rows(conn, frontier, rows, ("id",))
    return False


def measure_extent(conn: Connection, no: int, hosts: Collection[str], rate: float) -> Extent:
    """Count the waiting targets of a job and their hosts.

    *hosts* are its start hosts, which count if nothing waits yet.
    """
    statement = select(func.count(frontier.c.host.distinct()), func.count()).where(
        frontier.c.job_no == no, WAITING
    )
    host_count, waiting = conn.execute(statement).one()
    return Extent(hosts=host_count or len(hosts), waiting=waiting or len(hosts), rate=rate)


def has_waiting(conn: Connection, no: int) -> bool:
    """Return whether a job has waiting targets."""
    # ORDER BY makes Postgres use the index even when it expects many rows
    first = select(frontier.c.id).where(frontier.c.job_no == no, WAITING)
    first = first.order_by(frontier.c.depth, frontier.c.id).limit(1)
    return conn.scalar(first) is not None


def find_waiting_shards(conn: Connection, no: int, count: int) -> set[int]:
    """Return the shards, *count* in total, that have waiting targets."""
    return shards_of_buckets(find_waiting_buckets(conn, no), count)


def find_waiting_buckets(conn: Connection, no: int) -> Collection[int]:
    """Return the buckets of a job that have waiting targets."""
    return conn.scalars(waiting_buckets_query(), {"its_no": no}).all()


def shards_of_buckets(buckets: Iterable[int], count: int) -> set[int]:
    """Return the shards, *count* in total, that have some of *buckets*."""
    return {bucket % count + 1 for bucket in buckets}


def first_waiting_shard(
    conn: Connection, no: int, numbers: Sequence[int], count: int
) -> int | None:
    """Return the first shard of *numbers* that has waiting targets, ``None`` if none has."""
    waiting = find_waiting_shards(conn, no, count) if numbers else set()
    return next((number for number in numbers if number in waiting), None)


@cache
def waiting_buckets_query() -> Select[Any]:
    """Return a query for the buckets of the job *its_no* that have waiting targets."""
    # One index lookup per bucket, however many targets wait: a join may read all of them.
    # Without ORDER BY, Postgres may read the whole table for each empty bucket.
    literal_one: ColumnElement[int] = literal_column("1")
    buckets = select(literal_column("0").label("bucket")).cte("buckets", recursive=True)
    next_bucket = select(buckets.c.bucket + literal_one).where(
        buckets.c.bucket < literal_column(f"{BUCKETS - 1}")
    )
    buckets = buckets.union_all(next_bucket)
    first_target = (
        select(literal_one)
        .where(
            frontier.c.job_no == bindparam("its_no", type_=BigInteger),
            DEALT,
            frontier.c.bucket == buckets.c.bucket,
        )
        .order_by(frontier.c.depth, frontier.c.id)
        .limit(literal_one)
        .correlate(buckets)
        .scalar_subquery()
    )
    return select(buckets.c.bucket).where(first_target.is_not(None))


def is_dealt_to(shard: int, count: int) -> ColumnElement[bool]:
    """Return the condition for the waiting targets of a shard, among those of its job.

    The job is cut into *count* shards.
    """
    return DEALT & frontier.c.bucket.in_(buckets_of(shard, count))


def has_leased_parts() -> ColumnElement[bool]:
    """Return the condition that a shard of a job other than 0 has a lease, expired or not."""
    return _select_leased().exists()


def is_worked_on_by(worker: str) -> ColumnElement[bool]:
    """Return the condition that *worker* has a job or a shard of it, for a query on `STANDING`.

    A shard that it has already given up for an urgent job doesn't count.
    """
    not_given_up = (_part.c.worker == worker, _part.c.freed_at.is_(None))
    part = (jobs.c.spread > 0) & _select_leased(*not_given_up).exists()
    return or_(shards.c.worker == worker, part)


def has_no_leased_parts(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that no lease on a shard of a job is in force at *now*."""
    return or_(jobs.c.spread == 0, ~_select_leased(_part.c.lease_until > now).exists())


_part = shards.alias("part")


def _select_leased(*conditions: ColumnElement[bool]) -> Select[Any]:
    in_job = (_part.c.job_no == jobs.c.no, _part.c.shard > 0)
    return select(_part.c.shard).where(*in_job, _part.c.worker.is_not(None), *conditions)


SHARERS = case(
    (
        jobs.c.spread > 0,
        _select_leased().with_only_columns(func.count(_part.c.worker.distinct())).scalar_subquery(),
    ),
    else_=0,
).label("sharers")
"""Column for queries on `STANDING`: the number of workers that have shards of the job."""


JOIN_COLUMNS = (jobs.c.needs, jobs.c.level, jobs.c.due_at)
"""Columns of a running job that determine which workers may join it."""


def shard_wakeup(row: Mapping[str, Any] | RowMapping) -> Wakeup:
    """Return the wakeup for a free shard of the running job *row*."""
    urgent = row["level"] >= Priority.URGENT.rank
    return Wakeup(at=row["due_at"], needs=row["needs"], urgent=urgent, shard=True)


def announce_free_shards(
    conn: Connection,
    row: Mapping[str, Any] | RowMapping,
    parts: Parts,
    numbers: Collection[int] | None = None,
    buckets: Collection[int] | None = None,
) -> None:
    """Add a wakeup if a free shard of the running job *row* has waiting targets.

    With *numbers*, only those shards are considered. *buckets* are those with waiting targets, if
    they are known.
    """
    free = {n for n in parts.free() if numbers is None or n in numbers}
    if not free:
        return
    buckets = find_waiting_buckets(conn, parts.job_no) if buckets is None else buckets
    if free & shards_of_buckets(buckets, parts.count):
        gather_due(conn, shard_wakeup(row))


def newly_filled_shards(
    conn: Connection, parts: Parts, targets: Iterable[Target], starts: Starts
) -> set[int]:
    """Return the free shards without waiting targets that get their first ones from *targets*.

    Assumes that the targets in *targets* are new.
    """
    free = set(parts.free())
    if not free:
        return set()
    with_new = free & {shard_of_host(target.host, parts.count, starts) for target in targets}
    if not with_new:
        return with_new
    return with_new - find_waiting_shards(conn, parts.job_no, parts.count)


def count_free_shards(conn: Connection, *conditions: ColumnElement[bool]) -> int:
    """Return the number of shards that wait for a worker, of the jobs that meet *conditions*."""
    query = _select_jobs_with_free_shard(jobs.c.no, jobs.c.spread)
    rows = conn.execute(query.where(*conditions)).all()
    return sum(
        len(find_waiting_shards(conn, no, count).intersection(read_parts(conn, no, count).free()))
        for no, count in rows
    )


def _select_jobs_with_free_shard(*columns: ColumnElement[Any]) -> Select[Any]:
    """Return a query for *columns* of the running jobs that have a shard without a lease."""
    has_free_shard = exists().where(
        shards.c.job_no == jobs.c.no, IS_PART, shards.c.shard <= jobs.c.spread, ~HELD
    )
    return select(*columns).where(RUNNING, PRESENT, jobs.c.spread > 0, has_free_shard)
