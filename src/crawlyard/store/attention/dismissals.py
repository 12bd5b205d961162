"""Dismissed notices, by user."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, or_, select

from crawlyard.store.db.bulk_rows import put_rows
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import equal
from crawlyard.store.tables.desk import dismissals

MOST_DISMISSED = 500
"""Most dismissals kept per user; the latest are kept."""


class DismissalStore(StorePart):
    """Notices that users have dismissed, each for themselves."""

    @reads
    def find(self, conn: Connection, owner: str) -> Mapping[str, datetime]:
        """Return the times at which a user dismissed notices, by notice id."""
        own = select(dismissals.c.notice, dismissals.c.dismissed_at).where(_of(owner))
        return {row.notice: row.dismissed_at for row in conn.execute(own)}

    @writes
    def add(
        self, conn: Connection, owner: str, notice: str, now: datetime, before: datetime
    ) -> None:
        """Record that a user dismisses a notice *now*; delete dismissals made *before*."""
        row = {"owner": owner, "notice": notice, "dismissed_at": now}
        put_rows(conn, dismissals, [row])
        latest = (
            select(dismissals.c.notice)
            .where(_of(owner))
            .order_by(dismissals.c.dismissed_at.desc())
            .limit(MOST_DISMISSED)
        )
        old = or_(dismissals.c.dismissed_at < before, dismissals.c.notice.not_in(latest))
        conn.execute(delete(dismissals).where(_of(owner), old))

    @writes
    def drop(self, conn: Connection, owner: str, notice: str | None) -> None:
        """Delete a user's dismissal of a notice, or of all notices if *notice* is ``None``."""
        conn.execute(delete(dismissals).where(_of(owner), *equal((dismissals.c.notice, notice))))


def _of(owner: str) -> ColumnElement[bool]:
    return dismissals.c.owner == owner
