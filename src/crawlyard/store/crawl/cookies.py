"""Cookies of jobs, sealed: written with checkpoints, read by the next worker of a job."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, tuple_

from crawlyard.core.jobs.checkpoint import Batch, Lease
from crawlyard.store.db.bulk_rows import put_rows
from crawlyard.store.db.database import StorePart, reads
from crawlyard.store.jobs.job_rows import no_of
from crawlyard.store.tables.jobs import job_cookies


class CookieStore(StorePart):
    """Sealed cookies of jobs."""

    @reads
    def of_job(self, conn: Connection, job_id: str) -> list[bytes]:
        """Return the cookies that a job had at its last checkpoint."""
        own = job_cookies.c.job_no == no_of(job_id).scalar_subquery()
        return [bytes(sealed) for sealed in conn.scalars(select(job_cookies.c.sealed).where(own))]


def write_cookies(conn: Connection, written: Sequence[tuple[Lease, Batch]]) -> None:
    """Write the cookies that batches have changed; of two shards, the later batch wins."""
    changed = {
        (lease.job_no, key): sealed
        for lease, batch in written
        for key, sealed in batch.cookies.items()
    }
    put_rows(
        conn,
        job_cookies,
        [
            {"job_no": no, "key": key, "sealed": sealed}
            for (no, key), sealed in sorted(changed.items())
            if sealed
        ],
    )
    ended = sorted(place for place, sealed in changed.items() if not sealed)
    if ended:
        own = tuple_(job_cookies.c.job_no, job_cookies.c.key).in_(ended)
        conn.execute(delete(job_cookies).where(own))
