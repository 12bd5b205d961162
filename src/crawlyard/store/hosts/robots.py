"""Cache of robots.txt files by origin."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, select

from crawlyard.core.hosts.hosts import RobotsFile
from crawlyard.store.codec.base import RecordCodec
from crawlyard.store.codec.jobs import compressed, decompressed
from crawlyard.store.db.bulk_rows import delete_first
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.dialects import postgresql, sqlite
from crawlyard.store.db.transactions import StorePart, reads, writes
from crawlyard.store.tables.hosts import robots

_FILES = RecordCodec(RobotsFile)


class RobotsStore(StorePart):
    """Cached robots.txt files, one per origin."""

    @reads
    def get(self, conn: Connection, origin: str, now: datetime) -> RobotsFile | None:
        """Return the cached file of an origin, ``None`` if there is none that is valid at *now*."""
        found = select(robots).where(robots.c.origin == clean(origin), robots.c.expires_at > now)
        file = _FILES.first(conn, found)
        return None if file is None else replace(file, body=decompressed(file.body))

    async def put(self, files: Sequence[RobotsFile]) -> None:
        """Store files, each replacing one fetched no later; each origin may occur once."""
        if files:
            await self._database.write(partial(_put, files=files))

    @writes
    def sweep(self, conn: Connection, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* files that expired before *before*; return how many."""
        return delete_first(conn, (robots.c.origin,), robots.c.expires_at < before, rows)


def _row(file: RobotsFile) -> dict[str, Any]:
    return _FILES.row(replace(file, body=compressed(file.body)))


def _put(conn: Connection, files: Sequence[RobotsFile]) -> None:
    # sorted by origin, so that two writers of the same files don't deadlock
    rows = sorted((_row(file) for file in files), key=lambda row: str(row["origin"]))
    insert = postgresql.insert(robots) if is_postgres(conn) else sqlite.insert(robots)
    given = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=["origin"],
        set_={name: given[name] for name in rows[0] if name != "origin"},
        where=robots.c.fetched_at <= given.fetched_at,
    )
    conn.execute(statement, rows)
