"""How long a claim takes with much in its way, on SQLite and Postgres.

Three queues of so many jobs: jobs of one owner whose quota is used up, which are all more
urgent than the job of another; the same with nothing for anybody else; and jobs that all
become due at one instant. Each claim is measured by the wall, one after the other.

``python -m bench.claims --jobs 100000 --postgres postgresql://…`` (an empty database).
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.engine import make_url

from crawlyard.core.access.user import LOCAL, Quota
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.ids import new_id
from crawlyard.store.db.database import Database, SqliteDatabase
from crawlyard.store.db.postgres import PostgresDatabase
from crawlyard.store.open import open_sql_store
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs, shards

NOW = datetime.now(UTC).replace(microsecond=0)
SOON = NOW + timedelta(minutes=1)
LEASE = timedelta(minutes=10)
AT_ONCE = 5_000
OTHER = replace(LOCAL, id="other")


def a_job(owner: str, priority: Priority, due: datetime) -> Job:
    """Return a job that was just queued."""
    spec = JobSpec(urls=("http://bench.example/",), priority=priority)
    return Job(
        id=new_id(),
        owner=owner,
        spec=spec,
        state=State.PENDING,
        state_reason=StateReason.WAITING_SLOT,
        created_at=NOW,
        updated_at=NOW,
        since=NOW,
        queued_at=NOW,
        due_at=due,
    )


async def put(store: Store, job: Job) -> None:
    """Add a job."""
    await store.jobs.add(job, job.event(EventName.CREATED, NOW, "bench"))


def multiply(conn: Connection, times: int) -> None:
    """Add copies of the job that was added last, each with the next turn."""
    last = conn.execute(select(jobs).order_by(jobs.c.no.desc()).limit(1)).mappings().one()
    shard = conn.execute(select(shards).where(shards.c.job_no == last["no"])).mappings().one()
    rows = [
        {**last, "no": last["no"] + n, "id": new_id(), "turn": last["turn"] + n}
        for n in range(1, times + 1)
    ]
    for at in range(0, times, AT_ONCE):
        part = rows[at : at + AT_ONCE]
        conn.execute(insert(jobs), part)
        conn.execute(insert(shards), [{**shard, "job_no": row["no"]} for row in part])


async def filled(store: Store, database: Database, count: int, due: datetime) -> None:
    """Let so many urgent jobs of the owner who must wait be queued."""
    await put(store, a_job(LOCAL.id, Priority.URGENT, due))
    await database.write(lambda conn: multiply(conn, count - 1))
    if isinstance(database, PostgresDatabase):
        await database.write(lambda conn: conn.execute(text("ANALYZE jobs, shards")))
        keys = "SELECT setval(pg_get_serial_sequence('jobs', 'no'), max(no)) FROM jobs"
        await database.write(lambda conn: conn.execute(text(keys)))


async def timed(store: Store, now: datetime, claims: int) -> tuple[Sequence[float], int]:
    """Return the milliseconds of each claim, and how many brought a job."""
    took, brought = [], 0
    for _ in range(claims):
        began = time.perf_counter()
        claim = await store.leases.claim(Asker("bench"), now, LEASE)
        took.append((time.perf_counter() - began) * 1000)
        brought += claim is not None
    return took, brought


async def measure(where: str, database: Database, count: int, claims: int) -> None:
    """Measure the three queues on one empty database."""
    store = await open_sql_store(where)
    try:
        name = "postgres" if "://" in where else "sqlite"
        await filled(store, database, count, SOON)
        show(name, f"{count} due at once", *await timed(store, SOON, claims))
        await hold_back(store)
        show(name, f"{count} of one who waits", *await timed(store, SOON, claims))
        await add_other(store, claims)
        show(name, "and another's", *await timed(store, SOON, claims))
    finally:
        await store.close()


async def hold_back(store: Store) -> None:
    """Let the owner of all the jobs have no quota left."""
    user = await store.users.get(LOCAL.id)
    changed = replace(user, quota=Quota(running=0), version=user.version + 1)
    told = Event(
        name=EventName.USER_UPDATED, subject=user.id, owner=user.id, at=NOW, actor="bench", data={}
    )
    await store.users.save(changed, told)


async def add_other(store: Store, count: int) -> None:
    """Add low jobs of another owner."""
    for _ in range(count):
        await put(store, a_job(OTHER.id, Priority.LOW, NOW))


def show(name: str, queue: str, took: Sequence[float], brought: int) -> None:
    """Print one line."""
    ordered = sorted(took)
    p99 = ordered[int(len(ordered) * 0.99)]
    said = f"p50 {statistics.median(took):7.2f} ms  p99 {p99:7.2f}  max {ordered[-1]:7.2f}"
    print(f"{name:9} {queue:28} {said}  ({brought} of {len(took)} brought a job)")  # noqa: T201


async def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--claims", type=int, default=50)
    parser.add_argument("--postgres", default="")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "crawlyard.db"
        await (await open_sql_store(str(file))).close()
        databases: list[tuple[str, Database]] = [(str(file), SqliteDatabase(file))]
        if given.postgres:
            await (await open_sql_store(given.postgres)).close()
            databases.append((given.postgres, PostgresDatabase(make_url(given.postgres))))
        for where, database in databases:
            await measure(where, database, given.jobs, given.claims)
            await database.close()


if __name__ == "__main__":
    asyncio.run(main())
