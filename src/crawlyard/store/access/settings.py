"""Setting store: sections of settings that admins can change at runtime."""

from sqlalchemy import Connection, select

from crawlyard.core.access.policy import Section
from crawlyard.core.events.event import Event
from crawlyard.store.codec.records import SECTIONS
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import put_version
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.tables.desk import settings


class SettingStore(StorePart):
    """Sections of settings that admins can change at runtime."""

    @reads
    def get(self, conn: Connection, name: str) -> Section:
        """Return a section; a section that was never saved is empty, at version 0."""
        section = SECTIONS.first(conn, select(settings).where(settings.c.name == name))
        return section or Section(name=name)

    @writes
    def save(self, conn: Connection, section: Section, event: Event | None = None) -> None:
        """Replace version ``section.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another.
        """
        put_version(conn, settings, SECTIONS.row(section), f"settings {section.name} are")
        add_events(conn, [event] if event else [])
