"""A database with many jobs that differ in all that a filter asks for."""

import time
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    SmallInteger,
    Text,
    case,
    cast,
    literal,
    null,
    select,
    text,
    type_coerce,
)
from sqlalchemy import func as sql
from tests.jobs import submit

from crawlyard import Move
from crawlyard.core.access.job_parts import Hidden
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.store.db.database import Database
from crawlyard.store.jobs.counts import repair, sum_up
from crawlyard.store.tables.jobs import job_hosts, job_tags, job_texts, jobs, shards
from crawlyard.yard import Yard

OWNERS = 50
SITES = 5_000  # hosts of start URLs
TEMPLATES = 50  # every second job is of one
SCHEDULES = 500  # every fourth job is of one
RARE = 1_000  # every so many jobs has the tag `rare`
_PORTION = 100_000
_NAME = "Crawl of "
_MARK = "site-000000"  # in the name and the URL of the job that is copied
_SPAN = timedelta(days=90)  # in which all jobs were submitted
_RECENTLY = timedelta(days=20)  # of jobs that no janitor deletes
_TAGS = ((2, "daily"), (10, "shop"), (RARE, "rare"))


def template_id(number: int) -> str:
    """Return the id of a template that jobs are of."""
    return f"01800000-0000-7000-8000-{number:012}"


def schedule_id(number: int) -> str:
    """Return the id of a schedule that jobs are of."""
    return f"01810000-0000-7000-8000-{number:012}"


async def fill(yard: Yard, database: Database, count: int, *, ended: bool = False) -> None:
    """Add *count* jobs of 90 days; of 100 there wait 3 and one is paused.

    All *ended*: none waits, and none is old enough to be deleted. One job is submitted, and
    copied by the database itself.
    """
    spec = JobSpec(urls=(f"https://{_MARK}.example/",), name=f"{_NAME}{_MARK}")
    job = await submit(yard, spec)
    await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)
    step = (_RECENTLY if ended else _SPAN) / count
    for first in range(1, count, _PORTION):
        span = first, min(first + _PORTION, count)
        await database.write(partial(_multiply, job_id=job.id, span=span, step=step, ended=ended))
    await database.write(tally)
    await database.read(_analyze)


def tally(conn: Connection) -> None:
    """Count what there is: rows that SQL made were not counted."""
    repair(conn)
    while sum_up(conn):
        pass


def _analyze(conn: Connection) -> None:
    # Postgres does this by itself in time; SQLite never does
    if conn.dialect.name == "postgresql":
        conn.execute(text("VACUUM ANALYZE"))  # reads are no transactions there


async def submitted_per_s(yard: Yard, count: int) -> float:
    """Return how many jobs a second are submitted, one after the other."""
    spec = JobSpec(urls=(f"https://{_MARK}.example/",), name="One of many", tags=("one",))
    began = time.perf_counter()
    for _ in range(count):
        await submit(yard, spec)
    return count / (time.perf_counter() - began)


def _numbers(first: int, last: int) -> Any:
    number = select(literal(first, BigInteger).label("n")).cte("numbers", recursive=True)
    return number.union_all(select(number.c.n + 1).where(number.c.n < last - 1))


def _padded(number: ColumnElement[int], digits: int) -> ColumnElement[str]:
    return sql.substr(cast(number + 10**digits, Text), 2)


def _multiply(
    conn: Connection, job_id: str, span: tuple[int, int], step: timedelta, *, ended: bool
) -> None:
    number = _numbers(*span)
    changed = _changed(number.c.n, step // timedelta(microseconds=1), ended=ended)
    changed["id"] = _id_of(conn, changed["created_at"], number.c.n)
    copied = [column for column in jobs.c if column.name != "no"]
    template = select(*(changed.get(column.name, column) for column in copied)).select_from(
        jobs.join(number, literal(1) == 1)
    )
    names = [column.name for column in copied]
    conn.execute(jobs.insert().from_select(names, template.where(jobs.c.id == job_id)))
    _add_belongings(conn, job_id, span)


def _changed(n: ColumnElement[int], step_us: int, *, ended: bool) -> dict[str, Any]:
    """Return the columns that differ, for the copy of number *n*."""
    of_100 = n % 100
    pending, paused = (of_100 < 0, of_100 < 0) if ended else (of_100 < 3, of_100 == 3)
    state = case(
        (pending, "pending"), (paused, "paused"), (of_100 < 10, "failed"),
        (of_100 < 15, "cancelled"), else_="completed",
    )  # fmt: skip
    site = literal("site-", Text) + _padded((n * 7919) % SITES, 6)
    span = _RECENTLY if ended else _SPAN
    began_us = n * step_us - span // timedelta(microseconds=1)
    created = type_coerce(jobs.c.created_at, BigInteger) + began_us
    over = case((pending | paused, null()), else_=created + 60_000_000)

    def with_site(column: Any) -> ColumnElement[str]:
        return sql.replace(type_coerce(column, Text), _MARK, site)

    ids = {
        "template_id": (n % 2, TEMPLATES, "01800000-0000-7000-8000-"),
        "schedule_id": (n % 4, SCHEDULES, "01810000-0000-7000-8000-"),
    }
    return {
        "tail": _padded(n % 10_000, 4),
        "owner": literal("owner-", Text) + cast((n // 7) % OWNERS, Text),
        "name": with_site(jobs.c.name),
        "spec": with_site(jobs.c.spec),
        "state": state,
        "state_reason": case((pending, "waiting_slot"), else_="exhausted"),
        "priority": cast(n % 4, SmallInteger),
        "level": cast(n % 4, SmallInteger),
        "ready": cast(case((pending, 1), else_=0), SmallInteger),
        "turn": n // OWNERS,
        "hidden": cast(case((n % 10 == 0, int(Hidden.JOB)), else_=0), SmallInteger),
        "created_at": created,
        "since": created,
        "queued_at": created,
        "due_at": created,
        "started_at": over,
        "ended_at": over,
        "template_version": case((n % 2 == 0, cast(1, Integer)), else_=null()),
    } | {
        name: case((share == 0, literal(head, Text) + _padded((n // 4) % many, 12)), else_=null())
        for name, (share, many, head) in ids.items()
    }


def _id_of(
    conn: Connection, made_us: ColumnElement[int], n: ColumnElement[int]
) -> ColumnElement[str]:
    """Return an id that says when its job was made, as a UUIDv7 does."""
    ms = made_us // 1000
    if conn.dialect.name == "postgresql":
        text_of: ColumnElement[str] = sql.lpad(sql.to_hex(ms), 12, "0")
    else:
        text_of = sql.printf("%012x", ms)
    begin = sql.substr(text_of, 1, 8) + "-" + sql.substr(text_of, 9)
    return begin + literal("-7000-8000-", Text) + _padded(n, 12)


def _add_belongings(conn: Connection, job_id: str, span: tuple[int, int]) -> None:
    """Give the copies of a portion their shards, tags, hosts and texts."""
    first = conn.scalar(select(jobs.c.no).where(jobs.c.id == job_id))
    newest = conn.scalar(select(sql.max(jobs.c.no)))
    since = (newest or 0) - (span[1] - span[0])
    own = [column for column in shards.c if column.name != "job_no"]
    bare = (
        select(jobs.c.no, *own)
        .select_from(jobs.join(shards, shards.c.job_no == first))
        .where(jobs.c.no > since)
    )
    conn.execute(shards.insert().from_select(["job_no", *(c.name for c in own)], bare))
    host = sql.substr(jobs.c.name, len(_NAME) + 1) + literal(".example", Text)
    reached = select(host, jobs.c.no).where(jobs.c.no > since)
    conn.execute(job_hosts.insert().from_select(["host", "job_no"], reached))
    url = literal("https://", Text) + host + literal("/", Text)
    words = sql.lower(jobs.c.name + literal("\n", Text) + url)
    texts = select(jobs.c.no, words).where(jobs.c.no > since)
    conn.execute(job_texts.insert().from_select(["job_no", "text"], texts))
    for every, tag in _TAGS:
        marked = select(literal(tag, Text), jobs.c.no).where(
            jobs.c.no > since, jobs.c.no % every == 0
        )
        conn.execute(job_tags.insert().from_select(["tag", "job_no"], marked))
