"""Copy of a whole database to another, of either kind, row by row.

The target is marked first, so that no Crawlyard opens it before it is complete. Each batch
is one transaction that also stores the last key copied: an interrupted copy resumes after that
key. Rows copied before may have changed since, so everything is compared in the end, and a
table that differs is copied once more.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Connection, column, delete, func, insert, select, text, update
from sqlalchemy import table as sql_table

from crawlyard.errors import Conflict, SchemaMismatch
from crawlyard.store.admin.content import STORED, Row, StoredTable, Sum, size
from crawlyard.store.admin.marks import BEGUN, MARKS, OverwriteTerms, mark, unmark
from crawlyard.store.admin.place import (
    BUSY_S,
    DatabaseLocation,
    Opened,
    name_errors,
    reading,
    writing,
)
from crawlyard.store.db.bulk_rows import insert_new
from crawlyard.store.db.database import create_file, is_postgres
from crawlyard.store.db.schema import mismatch, version_of
from crawlyard.store.tables import SCHEMA

MOST_ROWS = 2000
MOST_BYTES = 4 * 2**20
"""Limits of one batch, whichever is reached first."""

_CHECK_WEIGHT = 0.5
"""Time to read a row back and compare it, relative to copying it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedTable:
    """The result for one table, verified to be the same on both sides."""

    table: str
    rows: int
    digest: str  # of all rows, in any order; the same on both databases


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """State of a running copy, for display."""

    doing: str  # the current step and its table
    share: float  # of the work: 0 to 1
    rows: int  # copied by this run


OnProgress = Callable[[CopyProgress], None]


@dataclass(slots=True)
class _Meter:
    """Counts the work done, and reports progress."""

    report: OnProgress
    total: float = 0.0
    done: float = 0.0
    rows: int = 0

    def advance(self, doing: str, work: float, rows: int = 0) -> None:
        self.done += work
        self.rows += rows
        share = min(1.0, self.done / self.total) if self.total else 1.0
        self.report(CopyProgress(doing=doing, share=share, rows=self.rows))


@dataclass(slots=True)
class Copier:
    """One run of a copy, from a snapshot of *source* to *target*, which must be marked for it."""

    source: Connection
    target: Opened
    report: OnProgress
    most_rows: int = MOST_ROWS
    _meter: _Meter = field(init=False)
    _sums: dict[str, Sum] = field(default_factory=dict)  # of tables read from their start

    def run(self) -> Sequence[CopiedTable]:
        """Copy the missing rows, compare everything, and unmark the target.

        Raises:
            Conflict: another process writes into the target.
            StoreUnavailable: source or target cannot be used; rows already copied stay.
        """
        weights = {table: table.weight(self.source) for table in STORED.values()}
        total = sum(table.count(self.source) * each for table, each in weights.items())
        self._meter = _Meter(self.report, total * (1 + _CHECK_WEIGHT))
        with self.target.transaction() as read:  # copied by an earlier run
            self._meter.done = sum(table.count(read) * each for table, each in weights.items())
        self._copy(STORED.values())
        wrong = self._differing_tables()
        if wrong:
            affected = _with_referring_tables(wrong)
            self._empty(affected)
            self._copy(affected)
            wrong = self._differing_tables()
        if wrong:
            names = ", ".join(table.name for table in wrong)
            raise Conflict(f"{self.target.name} differs from its source after the copy, in {names}")
        with self.target.transaction() as write:
            set_counters(write, counters(self.source))
            unmark(write)
        sums = self._sums.items()
        return [CopiedTable(table=name, rows=s.rows, digest=s.digest) for name, s in sums]

    def _copy(self, tables: Iterable[StoredTable]) -> None:
        for table in tables:
            with self.target.transaction() as read:
                mark = read.execute(MARKS.select().where(MARKS.c.name == table.name)).one()
            start = str(mark.position)
            if start == BEGUN:
                self._sums[table.name] = Sum()
            with closing(self._batches(table, start)) as batches:
                for rows, weight in batches:
                    start = self._write(table, rows, start)
                    self._meter.advance(f"copying {table.name}", weight, len(rows))

    def _batches(self, table: StoredTable, start: str) -> Generator[tuple[list[Row], int]]:
        """Yield batches of the rows after the key *start*, with their size in bytes."""
        checksum = self._sums.get(table.name)
        weigh = checksum.add if checksum is not None else size
        after = None if start == BEGUN else table.load_key(start)
        batch: list[Row] = []
        weight = 0
        with closing(table.rows(self.source, after)) as rows:
            for row in rows:
                weight += weigh(row)
                batch.append(row)
                if len(batch) >= self.most_rows or weight >= MOST_BYTES:
                    yield batch, weight
                    batch, weight = [], 0
        if batch:
            yield batch, weight

    def _write(self, table: StoredTable, rows: Sequence[Row], start: str) -> str:
        """Write a batch and its last key as the new position; return that."""
        position = table.dump_key(table.key_of(rows[-1]))
        here = (MARKS.c.name == table.name, MARKS.c.position == start)
        with self.target.transaction() as write:
            moved = write.execute(update(MARKS).where(*here).values(position=position))
            if moved.rowcount != 1:
                raise Conflict(
                    f"another command is copying into {self.target.name}; stop one of the two"
                )
            # If a row here conflicts with one of the batch, the source has changed since it was
            # copied. It is skipped; the comparison finds the difference.
            insert_new(write, table.plain, table.dicts(rows))
        return position

    def _empty(self, tables: Sequence[StoredTable]) -> None:
        """Delete all rows of *tables*, so that they are copied from the start."""
        names = [table.name for table in tables]
        with self.target.transaction() as write:
            for table in reversed(tables):
                write.execute(table.plain.delete())
            write.execute(update(MARKS).where(MARKS.c.name.in_(names)).values(position=BEGUN))

    def _differing_tables(self) -> list[StoredTable]:
        """Return the tables that differ between source and target."""
        with self.target.transaction() as read:
            return [table for table in STORED.values() if self._differs(table, read)]

    def _differs(self, table: StoredTable, there: Connection) -> bool:
        if table.name not in self._sums:
            self._sums[table.name] = self._checksum(table, self.source, weight=0.0)
        return self._checksum(table, there, weight=_CHECK_WEIGHT) != self._sums[table.name]

    def _checksum(self, table: StoredTable, conn: Connection, *, weight: float) -> Sum:
        checksum, unreported = Sum(), 0.0
        with closing(table.rows(conn)) as rows:
            for row in rows:
                unreported += checksum.add(row) * weight
                if checksum.rows % self.most_rows == 0:
                    self._meter.advance(f"comparing {table.name}", unreported)
                    unreported = 0.0
        self._meter.advance(f"comparing {table.name}", unreported)
        return checksum


def _with_referring_tables(wrong: Sequence[StoredTable]) -> list[StoredTable]:
    """Return tables with all that refer to them, whose foreign keys prevent their deletion."""
    names = {table.name for table in wrong}
    for table in STORED.values():  # each after those it refers to
        if any(key.column.table.name in names for key in table.of.foreign_keys):
            names.add(table.name)
    return [table for table in STORED.values() if table.name in names]


_SEQUENCES = sql_table("sqlite_sequence", column("name"), column("seq"))

_LAST = text("SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:name, :key) AS regclass))")


def counters(conn: Connection) -> Mapping[str, int]:
    """Return the last generated key by name of each auto-incrementing table; 0: none yet."""
    return {name: _last_key(conn, of) for name, of in STORED.items() if _counts(of)}


def set_counters(conn: Connection, last: Mapping[str, int]) -> None:
    """Set the counters of tables, so that they continue after the keys in *last*."""
    for name, last_key in last.items():
        if is_postgres(conn):
            key = STORED[name].key[0].name
            sequence = func.pg_get_serial_sequence(name, key)
            # no effect without a sequence; (1, false): no key has been generated yet
            conn.execute(select(func.setval(sequence, max(1, last_key), last_key > 0)))
        elif STORED[name].of.dialect_options["sqlite"]["autoincrement"]:
            conn.execute(delete(_SEQUENCES).where(_SEQUENCES.c.name == name))
            conn.execute(insert(_SEQUENCES).values(name=name, seq=last_key))


def _counts(of: StoredTable) -> bool:
    return of.of.autoincrement_column is not None


def _last_key(conn: Connection, of: StoredTable) -> int:
    key = of.key[0]
    highest = conn.scalar(select(func.max(key))) or 0
    if is_postgres(conn):
        last = conn.scalar(_LAST, {"name": of.name, "key": key.name})
    else:
        last = conn.scalar(select(_SEQUENCES.c.seq).where(_SEQUENCES.c.name == of.name))
    return max(int(highest), int(last or 0))


def copy(
    source: DatabaseLocation,
    target: DatabaseLocation,
    terms: OverwriteTerms,
    report: OnProgress,
    *,
    most_rows: int = MOST_ROWS,
) -> Sequence[CopiedTable]:
    """Copy all content of *source* as of now to *target*; return the tables copied.

    If it is interrupted, the same call resumes it.

    Raises:
        NotFound: there is no source.
        Invalid: the target has other content.
        SchemaMismatch: source or target does not have the tables of this program.
        StoreUnavailable: source or target cannot be used.
    """
    return _copy(source, target, source.label, terms, report, most_rows=most_rows)


def copy_backup(
    file: DatabaseLocation,
    label: str,
    target: DatabaseLocation,
    terms: OverwriteTerms,
    report: OnProgress,
) -> Sequence[CopiedTable]:
    """Copy a backup, upgraded to the current schema, under the source label *label*."""
    return _copy(file, target, label, terms, report, most_rows=MOST_ROWS)


def save(source: DatabaseLocation, part: DatabaseLocation, report: OnProgress) -> None:
    """Copy *source* to a new file, which is discarded if this fails.

    Raises:
        SchemaMismatch, StoreUnavailable: as for `copy`.
    """
    _copy(source, part, source.label, OverwriteTerms(field="FILE"), report, durable=False)


def _copy(
    source: DatabaseLocation,
    target: DatabaseLocation,
    label: str,
    terms: OverwriteTerms,
    report: OnProgress,
    *,
    most_rows: int = MOST_ROWS,
    durable: bool = True,
) -> Sequence[CopiedTable]:
    with reading(source) as here, here.transaction() as read:
        version = version_of(read)
        if version != SCHEMA:
            raise SchemaMismatch(mismatch(here.name, version))
        create_missing_file(target)
        with writing(target, durable=durable) as there:
            with there.transaction() as write:
                mark(write, there.name, label, terms)
            copied = Copier(read, there, report, most_rows).run()
            if target.file is None:
                _analyze(there)
    return copied


def create_missing_file(place: DatabaseLocation) -> None:
    """Create the file of a SQLite database if it is missing.

    Raises:
        StoreUnavailable: it cannot be created.
    """
    if place.file is not None:
        with name_errors(place.name):
            create_file(place.file, timedelta(seconds=BUSY_S))


def _analyze(there: Opened) -> None:
    """Update the statistics of Postgres: until then, it plans queries as for empty tables."""
    with there.transaction() as write:
        write.execute(text("ANALYZE"))
