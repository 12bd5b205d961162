"""Site session store: add, read, renew and delete sessions."""

from datetime import datetime

from sqlalchemy import Connection, select, update

from crawlyard.core.access.site_session import SiteSession
from crawlyard.core.events.event import Event
from crawlyard.store.codec.records import SITE_SESSIONS
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import add_row, by_code_points, drop_version, put_version
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.tables.access import site_sessions


class SiteSessionStore(StorePart):
    """Sessions at sites. Names are unique per owner."""

    @writes
    def add(self, conn: Connection, session: SiteSession, event: Event) -> None:
        """Add a new session and the event.

        Raises:
            Conflict: the id is taken, or the owner has a session of that name.
        """
        add_row(conn, site_sessions, SITE_SESSIONS.row(session), "a session")
        add_events(conn, [event])

    @writes
    def save(self, conn: Connection, session: SiteSession, event: Event) -> None:
        """Replace version ``session.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another, or the session is gone.
        """
        put_version(conn, site_sessions, SITE_SESSIONS.row(session), f"session {session.name} is")
        add_events(conn, [event])

    @reads
    def find(self, conn: Connection, owner: str) -> list[SiteSession]:
        """Return the sessions of a user, sorted by name."""
        owned = select(site_sessions).where(site_sessions.c.owner == owner)
        return SITE_SESSIONS.all(conn, owned.order_by(by_code_points(conn, site_sessions.c.name)))

    @reads
    def get_by_name(self, conn: Connection, owner: str, name: str) -> SiteSession | None:
        """Return the user's session of that name, ``None`` if there is none."""
        its = (site_sessions.c.owner == owner, site_sessions.c.name == name)
        return SITE_SESSIONS.first(conn, select(site_sessions).where(*its))

    @writes
    def record_use(self, conn: Connection, session_id: str, job_id: str, now: datetime) -> None:
        """Record that a job starts with a session; does nothing if the session is gone."""
        same = update(site_sessions).where(site_sessions.c.id == session_id)
        conn.execute(same.values(used_at=now, used_by=job_id))

    @writes
    def delete(self, conn: Connection, session: SiteSession, event: Event) -> None:
        """Delete a session and add the event.

        Raises:
            Conflict: the stored version is another, or the session is gone.
        """
        subject = f"session {session.name} is"
        drop_version(conn, site_sessions, session.id, session.version, subject)
        add_events(conn, [event])
