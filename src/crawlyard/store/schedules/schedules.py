"""Schedule store: add, read, list, save and delete schedules."""

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from crawlyard.core.events.event import Event
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.codec.schedules import schedule_of, schedule_row
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import add_row, behind, by_name, drop_version, equal, name_taken
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.queries import ScheduleQuery
from crawlyard.store.tables.schedules import schedules, ticks
from crawlyard.store.tables.templates import templates


class ScheduleStore(StorePart):
    """Schedules. Names are unique per owner; deleting a schedule deletes its ledger of ticks.

    A schedule with an unreadable part is returned without that part, paused, and with a `flaw`.
    """

    @writes
    def add(self, conn: Connection, schedule: CrawlSchedule, event: Event) -> None:
        """Add a new schedule and the event.

        Raises:
            Conflict: the id is taken, or the owner has a schedule of that name.
            NotFound: the template is gone.
        """
        _lock_template(conn, schedule)
        add_row(conn, schedules, schedule_row(schedule), "a schedule")
        add_events(conn, [event])

    @reads
    def get(self, conn: Connection, schedule_id: str) -> CrawlSchedule:
        """Return a schedule.

        Raises:
            NotFound: no schedule has that id.
        """
        row = (
            conn.execute(select(schedules).where(schedules.c.id == schedule_id)).mappings().first()
        )
        if row is None:
            raise NotFound(f"no schedule {schedule_id}")
        return schedule_of(row)

    @writes
    def save(self, conn: Connection, schedule: CrawlSchedule, event: Event) -> None:
        """Replace version ``version - 1`` at beat ``beat - 1`` of the schedule and add the event.

        Raises:
            Conflict: the schedule was edited or fired meanwhile, is gone, or the name is taken.
            NotFound: the template is gone.
        """
        _lock_template(conn, schedule)
        statement = (
            update(schedules)
            .where(
                schedules.c.id == schedule.id,
                schedules.c.version == schedule.version - 1,
                schedules.c.beat == schedule.beat - 1,
            )
            .values(schedule_row(schedule))
        )
        try:
            saved = conn.execute(statement).rowcount
        except IntegrityError:  # the name is the only unique value that can change
            raise name_taken("a schedule", schedule.name) from None
        if not saved:
            raise Conflict(
                f"schedule {schedule.id} is not at version {schedule.version - 1} any more"
            )
        add_events(conn, [event])

    @reads
    def find(self, conn: Connection, query: ScheduleQuery, limit: int) -> list[CrawlSchedule]:
        """Return at most *limit* schedules that match *query*, sorted by name and id."""
        matching = select(schedules).where(*_conditions(conn, query))
        rows = conn.execute(matching.order_by(*by_name(conn, schedules)).limit(limit)).mappings()
        return [schedule_of(row) for row in rows]

    @reads
    def runs(self, conn: Connection, schedule_id: str) -> int:
        """Return the number of ticks in the ledger of a schedule."""
        counted = select(func.count()).where(ticks.c.schedule_id == schedule_id)
        return conn.scalar(counted) or 0

    @writes
    def delete(self, conn: Connection, schedule_id: str, version: int, event: Event) -> None:
        """Delete a schedule and its ledger of ticks; its jobs stay.

        Raises:
            Conflict: the stored version is another.
        """
        drop_version(conn, schedules, schedule_id, version, f"schedule {schedule_id} is")
        conn.execute(delete(ticks).where(ticks.c.schedule_id == schedule_id))
        add_events(conn, [event])


def _lock_template(conn: Connection, schedule: CrawlSchedule) -> None:
    """Lock the template of a schedule, so that it isn't deleted until the transaction ends."""
    if schedule.template_id is None:
        return
    there = select(templates.c.id).where(templates.c.id == schedule.template_id)
    if conn.scalar(there.with_for_update(read=True, key_share=True)) is None:
        raise NotFound(f"no template {schedule.template_id}")


def _conditions(conn: Connection, query: ScheduleQuery) -> list[ColumnElement[bool]]:
    filters = equal(
        (schedules.c.owner, query.owner),
        (schedules.c.template_id, query.template_id),
        (schedules.c.name, query.name),
    )
    if query.seen_by is not None:
        filters.append(or_(schedules.c.owner == query.seen_by, schedules.c.private.is_(False)))
    if query.paused is not None:
        paused = schedules.c.paused_at
        filters.append(paused.is_not(None) if query.paused else paused.is_(None))
    if query.text:
        filters.append(schedules.c.search.contains(query.text.casefold(), autoescape=True))
    if query.after is not None:
        filters.append(behind(conn, schedules, query.after))
    return filters
