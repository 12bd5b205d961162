"""`EventLog` on SQL."""

# ruff: noqa: D102  # the Protocols in store/base.py say what each method does

from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, select

from crawlyard.core.event import Event
from crawlyard.store.codec import event_of
from crawlyard.store.sql.database import Database
from crawlyard.store.tables import events


@dataclass(frozen=True, slots=True)
class SqlEvents:
    """`EventLog` on a database."""

    _database: Database

    async def events(
        self, job_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        return await self._database.read(partial(_events, job_id=job_id, after=after, limit=limit))


def _events(conn: Connection, job_id: str | None, after: int, limit: int) -> list[Event]:
    statement = select(events).where(events.c.seq > after).order_by(events.c.seq).limit(limit)
    if job_id is not None:
        statement = statement.where(events.c.job_id == job_id)
    return [event_of(row) for row in conn.execute(statement).mappings()]
