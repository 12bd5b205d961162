"""Worker reports, and operator requests to workers."""

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, select, update

from crawlyard.core.events.event import Event
from crawlyard.core.workers.status import WorkerReport, WorkerWish
from crawlyard.errors import Conflict
from crawlyard.store.codec.base import Row, decoder_of, to_json
from crawlyard.store.db.bulk_rows import put_rows
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.tables.watch import workers

_REPORT = decoder_of(WorkerReport)


class WorkerStore(StorePart):
    """Reports of workers, and the requests of operators to them."""

    @writes
    def save_heartbeat(self, conn: Connection, report: WorkerReport) -> WorkerWish:
        """Replace the report of a worker; return the operator's request to it.

        The wish in *report* itself is not stored.
        """
        report_json = to_json(replace(report, wish=WorkerWish.NONE))
        row = {"id": report.id, "report": report_json, "beat_at": report.beat_at}
        put_rows(conn, workers, [row])  # leaves the `wish` column unchanged
        return _wish(conn, report.id)

    async def wish(self, worker_id: str) -> WorkerWish:
        """Return the operator's request to a worker: none if it has no report."""
        return await self._database.read_cached(_wish, worker_id)

    @writes
    def ask(
        self, conn: Connection, worker_id: str, wish: WorkerWish, was: WorkerWish, event: Event
    ) -> None:
        """Change the request to a worker from *was* to *wish*, and add the event.

        Raises:
            Conflict: the request is no longer *was*, or the worker has no report.
        """
        of_it = (workers.c.id == worker_id, workers.c.wish == was.value)
        statement = update(workers).where(*of_it).values(wish=wish.value)
        if not conn.execute(statement).rowcount:
            raise Conflict(f"another request to worker {worker_id} was made meanwhile")
        add_events(conn, [event])

    @reads
    def find(self, conn: Connection) -> list[WorkerReport]:
        """Return all reports, sorted by the start of the worker."""
        reports = [_worker_of(row) for row in conn.execute(select(workers)).mappings()]
        return sorted(reports, key=lambda r: (r.started_at, r.id))

    @writes
    def forget(self, conn: Connection, worker_id: str) -> bool:
        """Delete a report; return whether there was one."""
        return bool(conn.execute(delete(workers).where(workers.c.id == worker_id)).rowcount)

    @writes
    def sweep(self, conn: Connection, before: datetime) -> int:
        """Delete reports whose last heartbeat is before *before*; return how many."""
        return conn.execute(delete(workers).where(workers.c.beat_at < before)).rowcount


_WISH = select(workers.c.wish).where(workers.c.id == bindparam("worker"))


def _worker_of(row: Row) -> WorkerReport:
    return replace(_REPORT.decode(row["report"]), wish=WorkerWish(row["wish"]))


def _wish(conn: Connection, worker_id: str) -> WorkerWish:
    return WorkerWish(conn.scalar(_WISH, {"worker": worker_id}) or "")
