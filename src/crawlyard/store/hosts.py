"""Rate limits and slots of hosts, shared by all processes on one store; rules, robots.txt files.

Every transaction that books a host, holds it or grants its slots first locks its row of `hosts`,
several in the order of their names. This avoids deadlocks, and the slots of a host change one
transaction at a time.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, and_, bindparam, delete, or_, select, update

from crawlyard.core.events.event import Event
from crawlyard.core.hosts.hosts import HostBooking, HostRule, RobotsFile
from crawlyard.core.hosts.slots import (
    HostKept,
    HostTerms,
    Settled,
    SlotHolder,
    SlotRequest,
    settle_slots,
)
from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.store.codec.base import RecordCodec
from crawlyard.store.codec.jobs import compress, decompress
from crawlyard.store.codec.records import HOST_RULES
from crawlyard.store.db.bulk_rows import delete_first, insert_new, put_rows, update_rows
from crawlyard.store.db.clean_text import clean
from crawlyard.store.db.database import StorePart, is_postgres, reads, writes
from crawlyard.store.db.dialects import postgresql, sqlite
from crawlyard.store.db.rows import by_code_points, drop_version, put_version
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.tables.base import CleanText, Instant
from crawlyard.store.tables.hosts import host_rules, host_seats, hosts, robots

# Built once, as each starting job runs all three; building them took a third of the time.
_NAMES = bindparam("names", type_=CleanText, expanding=True)
# ordered, so that two processes that book the same hosts don't deadlock
_OWN = select(hosts).where(hosts.c.host.in_(_NAMES)).order_by(hosts.c.host).with_for_update()
_RULES = select(host_rules).where(host_rules.c.host.in_(_NAMES))
_LIVE = select(host_seats).where(
    host_seats.c.host.in_(_NAMES), host_seats.c.until > bindparam("now", type_=Instant)
)


class HostStore(StorePart):
    """Bookings, holds and slots of hosts, shared by all processes on one store."""

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        """Book windows; return when the first request of each may be sent, in order.

        Windows of one host never overlap, whichever process booked them: two requests in different
        ones are at least the delay apart. None starts before the host's hold ends.
        """
        if not bookings:
            return []
        return await self._database.write(partial(_book, bookings=bookings, now=now))

    async def renew_slots(
        self, asker: str, wishes: Sequence[SlotRequest], now: datetime, until: datetime
    ) -> list[HostTerms]:
        """Renew the slots of a process until *until*; return its terms for each host, in order.

        `core.hosts.slots.slots_of` decides how many slots; requested bookings are made as well.
        Each host may occur once. Slots that are not renewed are free from their *until* on.
        """
        if not wishes:
            return []
        work = partial(_renew_slots, asker=asker, wishes=wishes, now=now, until=until)
        return await self._database.write(work)

    @writes
    def release_slots(self, conn: Connection, *askers: str, unused: Sequence[Booking] = ()) -> None:
        """Release all slots of processes that have ended, and of their children, named NAME/….

        The *unused* parts of their windows are given back. Other bookings stay: requests may
        have been sent in them.
        """
        if unused:
            names = [clean(booking.host) for booking in unused]
            records = _lock_hosts(conn, names)
            for name, booking in zip(names, unused, strict=True):
                records[name] = records[name].free_from(booking.last, booking.free_at)
            _write_booked(conn, {name: record.booked_until for name, record in records.items()})
        seated = host_seats.c.worker
        children = (seated.startswith(f"{asker}/", autoescape=True) for asker in askers)
        conn.execute(delete(host_seats).where(or_(seated.in_(askers), *children)))

    @writes
    def hold(
        self,
        conn: Connection,
        host: str,
        until: datetime,
        strikes: int = 0,
        struck_at: datetime | None = None,
    ) -> None:
        """Start no booking of *host* before *until*; an earlier hold changes nothing.

        *strikes* is the number of consecutive refusals that led to it, the last one at
        *struck_at*. A number lower than the current one changes nothing.
        """
        host = clean(host)
        record = _lock_hosts(conn, [host])[host].hold_until(until, strikes, struck_at)
        conn.execute(
            update(hosts)
            .where(hosts.c.host == host)
            .values(
                held_until=record.held_until, strikes=record.strikes, struck_at=record.struck_at
            )
        )

    @writes
    def reset_refusals(self, conn: Connection, host: str) -> None:
        """Reset the consecutive refusals of *host*: it has answered."""
        host = clean(host)
        struck = (hosts.c.host == host, hosts.c.strikes > 0)
        conn.execute(update(hosts).where(*struck).values(strikes=0))

    @reads
    def read_bookings(self, conn: Connection, names: Collection[str]) -> Mapping[str, HostBooking]:
        """Return until when these hosts are booked or held; hosts without a row are left out."""
        rows = conn.execute(select(hosts).where(hosts.c.host.in_([clean(name) for name in names])))
        return {
            row.host: HostBooking(booked_until=row.booked_until, held_until=row.held_until)
            for row in rows
        }

    @writes
    def sweep(self, conn: Connection, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* rows of hosts and slots that ended before *before*; return how many.

        That is, hosts whose bookings and holds are over, and expired slots. The next
        process that requests such a host starts from scratch.
        """
        ends = (hosts.c.booked_until, hosts.c.held_until)
        over = and_(*(or_(end.is_(None), end < before) for end in ends))
        deleted = delete_first(conn, (hosts.c.host,), over, rows)
        if deleted == rows:
            return deleted
        seat = (host_seats.c.host, host_seats.c.worker)
        return deleted + delete_first(conn, seat, host_seats.c.until < before, rows - deleted)


def _book(conn: Connection, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
    names = [clean(b.host) for b in bookings]
    records = _lock_hosts(conn, names)
    starts: list[datetime] = []
    for name, booking in zip(names, bookings, strict=True):
        start = records[name].free_at(now, booking)
        records[name] = replace(records[name], booked_until=booking.until(start))
        starts.append(start)
    _write_booked(conn, {name: record.booked_until for name, record in records.items()})
    return starts


def _write_booked(conn: Connection, free_at: Mapping[str, datetime | None]) -> None:
    rows = [{"host": host, "booked_until": until} for host, until in free_at.items()]
    update_rows(conn, hosts, rows, ("host",))


def _lock_hosts(conn: Connection, names: Collection[str]) -> dict[str, HostKept]:
    """Lock the rows of hosts, creating missing ones; return their records by name."""
    records: dict[str, HostKept] = {}
    unique = sorted(set(names))
    while len(records) < len(unique):  # a row may be swept between the two statements
        insert_new(conn, hosts, [{"host": h, "booked_until": None} for h in unique])
        records = {
            row.host: HostKept(
                booked_until=row.booked_until,
                held_until=row.held_until,
                strikes=row.strikes,
                struck_at=row.struck_at,
            )
            for row in conn.execute(_OWN, {"names": unique})
        }
    return records


def _renew_slots(
    conn: Connection, asker: str, wishes: Sequence[SlotRequest], now: datetime, until: datetime
) -> list[HostTerms]:
    names = [clean(wish.host) for wish in wishes]
    records, rules = _lock_hosts(conn, names), _rules(conn, names)
    slot_holders = _slot_holders(conn, names, now)
    settlements = {
        name: settle_slots(asker, wish, records[name], slot_holders[name], rules.get(name), now)
        for name, wish in zip(names, wishes, strict=True)
    }
    _write_slots(conn, settlements, asker, until)
    booked = {
        n: settlement.booked_until
        for n, settlement in settlements.items()
        if settlement.booked_until is not None
    }
    _write_booked(conn, booked)
    return [settlements[name].terms for name in names]


def _rules(conn: Connection, names: Collection[str]) -> dict[str, HostRule]:
    rows = conn.execute(_RULES, {"names": names}).mappings()
    return {row["host"]: HOST_RULES.record(row) for row in rows}


def _slot_holders(
    conn: Connection, names: Collection[str], now: datetime
) -> dict[str, list[SlotHolder]]:
    """Return the unexpired slot holders of each host."""
    slot_holders: dict[str, list[SlotHolder]] = defaultdict(list)
    for row in conn.execute(_LIVE, {"names": names, "now": now}):
        slot_holders[row.host].append(
            SlotHolder(
                asker=row.worker,
                wanted=row.wanted,
                at_once=row.at_once,
                granted=row.granted,
                since=row.since,
                every_s=row.every_s,
            )
        )
    return slot_holders


def _write_slots(
    conn: Connection, settlements: Mapping[str, Settled], asker: str, until: datetime
) -> None:
    rows = [
        {
            "host": name,
            "worker": asker,
            "wanted": settlement.holder.wanted,
            "at_once": settlement.holder.at_once,
            "granted": settlement.holder.granted,
            "since": settlement.holder.since,
            "every_s": settlement.holder.every_s,
            "until": settlement.holder.lasts(until),
        }
        for name, settlement in sorted(settlements.items())
        if not settlement.holder.is_empty
    ]
    put_rows(conn, host_seats, rows)
    ended = [name for name, settlement in settlements.items() if settlement.holder.is_empty]
    if ended:
        own = (host_seats.c.worker == asker, host_seats.c.host.in_(ended))
        conn.execute(delete(host_seats).where(*own))


class HostRuleStore(StorePart):
    """Host rules set by operators. Hosts without a rule follow the settings of their jobs."""

    @reads
    def find(self, conn: Connection, after: str, limit: int) -> list[HostRule]:
        """Return at most *limit* rules of hosts that sort after *after*, by host."""
        host = by_code_points(conn, host_rules.c.host)
        query = select(host_rules).where(host > clean(after)).order_by(host).limit(limit)
        return HOST_RULES.all(conn, query)

    @reads
    def get(self, conn: Connection, host: str) -> HostRule:
        """Return the rule of a host.

        Raises:
            NotFound: the host has no rule.
        """
        query = select(host_rules).where(host_rules.c.host == host)
        return HOST_RULES.get(conn, query, f"rule for host {host}")

    @writes
    def save(self, conn: Connection, rule: HostRule, event: Event) -> None:
        """Replace version ``rule.version - 1`` of a rule and add the event; version 1 is new.

        Raises:
            Conflict: the stored version is another.
        """
        row = HOST_RULES.row(rule)
        put_version(conn, host_rules, row, f"the rule of host {rule.host} is")
        add_events(conn, [event])

    @writes
    def delete(self, conn: Connection, host: str, version: int, event: Event) -> None:
        """Delete the rule of a host and add the event.

        Raises:
            Conflict: the stored version is another, or the host has no rule.
        """
        drop_version(conn, host_rules, host, version, f"the rule of host {host} is")
        add_events(conn, [event])


_FILES = RecordCodec(RobotsFile)


class RobotsStore(StorePart):
    """Cached robots.txt files, one per origin."""

    @reads
    def get(self, conn: Connection, origin: str, now: datetime) -> RobotsFile | None:
        """Return the cached file of an origin, ``None`` if there is none that is valid at *now*."""
        query = select(robots).where(robots.c.origin == clean(origin), robots.c.expires_at > now)
        file = _FILES.first(conn, query)
        return None if file is None else replace(file, body=decompress(file.body))

    async def save(self, files: Sequence[RobotsFile]) -> None:
        """Store files, each replacing one fetched no later; each origin may occur once."""
        if files:
            await self._database.write(partial(_save_files, files=files))

    @writes
    def sweep(self, conn: Connection, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* files that expired before *before*; return how many."""
        return delete_first(conn, (robots.c.origin,), robots.c.expires_at < before, rows)


def _row(file: RobotsFile) -> dict[str, Any]:
    return _FILES.row(replace(file, body=compress(file.body)))


def _save_files(conn: Connection, files: Sequence[RobotsFile]) -> None:
    # sorted by origin, so that two writers of the same files don't deadlock
    rows = sorted((_row(file) for file in files), key=lambda row: str(row["origin"]))
    insert = postgresql.insert(robots) if is_postgres(conn) else sqlite.insert(robots)
    inserted = insert.excluded
    statement = insert.on_conflict_do_update(
        index_elements=["origin"],
        set_={name: inserted[name] for name in rows[0] if name != "origin"},
        where=robots.c.fetched_at <= inserted.fetched_at,
    )
    conn.execute(statement, rows)
