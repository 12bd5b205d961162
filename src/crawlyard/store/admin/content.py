"""Raw content of all tables, and checksums that compare it across databases."""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Column, Connection, Date, MetaData, Select, Table, func, select
from sqlalchemy import tuple_ as tuple_of
from sqlalchemy.types import TypeDecorator, TypeEngine

from crawlyard.store.tables.every import metadata

Row = tuple[Any, ...]
Key = tuple[Any, ...]

TABLES: Sequence[Table] = metadata.sorted_tables
"""All tables, each after those that it refers to."""

AT_ONCE = 100
"""Rows fetched at a time: few, as some hold page bodies."""

_SAMPLE = 100
_MODULUS = 2**128


_PLAIN = MetaData()


def _plain(of: Column[Any]) -> Column[Any]:
    kind = of.type.impl_instance if isinstance(of.type, TypeDecorator) else of.type
    return Column(of.name, kind, primary_key=of.primary_key, autoincrement=False)


class StoredTable:
    """A table with its columns in their stored form: instants are numbers."""

    def __init__(self, of: Table) -> None:
        self.name = of.name
        self.of = of
        self.plain = Table(of.name, _PLAIN, *map(_plain, of.columns))
        self.key: Sequence[Column[Any]] = [self.plain.c[c.name] for c in of.primary_key]
        self._key_indexes = [list(of.columns.keys()).index(c.name) for c in of.primary_key]

    def key_of(self, row: Row) -> Key:
        """Pick the values of the primary key, in its order of columns."""
        return tuple(row[index] for index in self._key_indexes)

    def dump_key(self, key: Key) -> str:
        """Encode a key as text for `load_key`."""
        return json.dumps([v.isoformat() if isinstance(v, date) else v for v in key])

    def load_key(self, text: str) -> Key:
        """Decode a key written by `dump_key`."""
        values = zip(self.key, json.loads(text), strict=True)
        return tuple(date.fromisoformat(v) if isinstance(c.type, Date) else v for c, v in values)

    def rows(self, conn: Connection, after: Key | None = None) -> Generator[Row]:
        """Yield the rows after the key *after* in the order of keys, fetching few at a time."""
        query = self._in_order()
        if after is not None:
            query = query.where(tuple_of(*self.key) > tuple_of(*after, types=self._types))
        with conn.execute(query, execution_options={"yield_per": AT_ONCE}) as result:
            for part in result.partitions():
                yield from map(tuple, part)

    def count(self, conn: Connection) -> int:
        """Return the number of rows."""
        return conn.scalar(select(func.count()).select_from(self.plain)) or 0

    def weight(self, conn: Connection) -> float:
        """Return the approximate size of a row in bytes, estimated from the first rows."""
        sample = [tuple(row) for row in conn.execute(self._in_order().limit(_SAMPLE))]
        return sum(map(size, sample)) / len(sample) if sample else 0.0

    def dicts(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return rows as dicts, as an INSERT takes them."""
        names = [c.name for c in self.plain.columns]
        return [dict(zip(names, row, strict=True)) for row in rows]

    @property
    def _types(self) -> list[TypeEngine[Any]]:
        return [c.type for c in self.key]

    def _in_order(self) -> Select[Any]:
        return select(*self.plain.columns).order_by(*self.key)


class Sum:
    """Row count and checksum, independent of the order of rows.

    It adds up the hashes of the rows, since two databases seldom sort text the same way.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: Row) -> int:
        """Add a row; return its approximate size in bytes."""
        text = _encode(row)
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % _MODULUS
        self.rows += 1
        return len(text) + sum(len(value) for value in row if type(value) is bytes)

    @property
    def digest(self) -> str:
        """Checksum as 32 hexadecimal digits."""
        return f"{self._sum:032x}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sum):
            return NotImplemented
        return (self.rows, self._sum) == (other.rows, other._sum)

    __hash__ = None  # type: ignore[assignment]  # it is mutable


def size(row: Row) -> int:
    """Return the approximate size of a row in bytes."""
    return Sum().add(row)


def _encode(row: Row) -> bytes:
    return _JSON.encode(row).encode("utf-8", "surrogatepass")


def _encode_other(value: object) -> list[str]:
    """Encode a date, or the hash of bytes, as a list, since no column can contain a list."""
    if isinstance(value, date):
        return [value.isoformat()]
    return [hashlib.blake2b(bytes(value), digest_size=16).hexdigest()]  # type: ignore[call-overload]  # bytes of either driver


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_encode_other)

STORED: Mapping[str, StoredTable] = {table.name: StoredTable(table) for table in TABLES}
"""All tables by name, each after those it refers to."""
