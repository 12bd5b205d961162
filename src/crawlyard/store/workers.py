"""Worker reports and requests to workers."""

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, select, update

from crawlyard.core.events.event import Event
from crawlyard.core.workers.status import WorkerReport, WorkerWish
from crawlyard.errors import Conflict
from crawlyard.store.codec.base import Row, decoder_of, to_json
from crawlyard.store.db.bulk_rows import put_rows
from crawlyard.store.db.transactions import StorePart, reads, writes
from crawlyard.store.jobs.job_rows import tell
from crawlyard.store.tables.watch import workers

_REPORT = decoder_of(WorkerReport)


class WorkerStore(StorePart):
    """Reports of workers, and what operators request of them."""

    @writes
    def beat(self, conn: Connection, report: WorkerReport) -> WorkerWish:
        """Store the report of a worker in place of its last one; return what is requested of it.

        The wish in *report* itself is not stored.
        """
        said = to_json(replace(report, wish=WorkerWish.NONE))
        row = {"id": report.id, "report": said, "beat_at": report.beat_at}
        put_rows(conn, workers, [row])  # leaves the `wish` column unchanged
        return _wish(conn, report.id)

    async def wish(self, worker_id: str) -> WorkerWish:
        """Return what is requested of a worker: nothing if it has no report."""
        return await self._database.known(_wish, worker_id)

    @writes
    def ask(
        self, conn: Connection, worker_id: str, wish: WorkerWish, was: WorkerWish, event: Event
    ) -> None:
        """Change what is requested of a worker from *was* to *wish*, and add the event.

        Raises:
            Conflict: something other than *was* is requested by now, or the worker has no report.
        """
        of_it = (workers.c.id == worker_id, workers.c.wish == was.value)
        asked = update(workers).where(*of_it).values(wish=wish.value)
        if not conn.execute(asked).rowcount:
            raise Conflict(f"of worker {worker_id} something else is wanted by now")
        tell(conn, [event])

    @reads
    def find(self, conn: Connection) -> list[WorkerReport]:
        """Return all reports, sorted by the start of the worker."""
        found = [_worker_of(row) for row in conn.execute(select(workers)).mappings()]
        return sorted(found, key=lambda r: (r.started_at, r.id))

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
