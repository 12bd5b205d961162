"""`HostStore` on SQL."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from crawlyard.core.checkpoint import Booking
from crawlyard.core.watch import HostBooking
from crawlyard.store.pacing import slots
from crawlyard.store.sql.bulk import delete_first, insert_new, update_rows
from crawlyard.store.sql.database import Database, is_postgres
from crawlyard.store.tables.hosts import hosts
from crawlyard.store.text import clean


@dataclass(frozen=True, slots=True)
class SqlHosts:
    """`HostStore` on a database."""

    _database: Database

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        if not bookings:
            return []
        return await self._database.write(partial(_book, bookings=bookings, now=now))

    async def hold(self, host: str, until: datetime) -> None:
        await self._database.write(partial(_hold, host=host, until=until))

    async def booked(self, hosts: Collection[str]) -> Mapping[str, HostBooking]:
        return await self._database.read(partial(_booked, names=hosts)) if hosts else {}

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        return await self._database.write(partial(_sweep, before=before, rows=rows))


def _book(conn: Connection, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
    names = [clean(b.host) for b in bookings]
    free_at = _free_at(conn, sorted(set(names)), now)
    starts: list[datetime] = []
    for name, booking in zip(names, bookings, strict=True):
        start, free_at[name] = slots(booking, free_at[name], now)
        starts.append(start)
    update_rows(
        conn, hosts, [{"host": h, "booked_until": at} for h, at in free_at.items()], ("host",)
    )
    return starts


def _free_at(conn: Connection, names: Sequence[str], now: datetime) -> dict[str, datetime]:
    """Return from when each host is free, and keep others from booking it meanwhile."""
    free_at: dict[str, datetime] = {}
    # in order: two processes that book the same hosts do not wait in a circle
    own = select(hosts).where(hosts.c.host.in_(names)).order_by(hosts.c.host)
    while len(free_at) < len(names):  # one may be swept away between the two statements
        insert_new(conn, hosts, [{"host": h, "booked_until": None} for h in names])
        rows = conn.execute(own.with_for_update())
        free_at = {r.host: max(r.booked_until or now, r.held_until or now, now) for r in rows}
    return free_at


def _hold(conn: Connection, host: str, until: datetime) -> None:
    # one statement: between two, the row could be swept away
    insert = postgresql.insert(hosts) if is_postgres(conn) else sqlite.insert(hosts)
    later = or_(hosts.c.held_until.is_(None), hosts.c.held_until < until)
    conn.execute(
        insert.values(host=host, held_until=until).on_conflict_do_update(
            index_elements=["host"], set_={"held_until": until}, where=later
        )
    )


def _sweep(conn: Connection, before: datetime, rows: int) -> int:
    ends = (hosts.c.booked_until, hosts.c.held_until)
    over = and_(*(or_(end.is_(None), end < before) for end in ends))
    return delete_first(conn, (hosts.c.host,), over, rows)


def _booked(conn: Connection, names: Collection[str]) -> Mapping[str, HostBooking]:
    rows = conn.execute(select(hosts).where(hosts.c.host.in_([clean(name) for name in names])))
    return {
        row.host: HostBooking(booked_until=row.booked_until, held_until=row.held_until)
        for row in rows
    }
