"""Raw content of all tables, and checksums that compare it across databases."""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Column, Connection, Date, MetaData, Select, Table, func, select
from sqlalchemy import tuple_ as tuple_of
from sqlalchemy.types import TypeDecorator, TypeEngine

from crawlyard.store.tables import metadata

Row = tuple[Any, ...]
Key = tuple[Any, ...]

TABLES: Sequence[Table] = metadata.sorted_tables
"""All tables, each after those it refers to."""

AT_ONCE = 100
"""Rows fetched at a time: few, as there are page bodies among them."""

_SAMPLE = 100
_MODULUS = 2**128


_PLAIN = MetaData()


def _plain(of: Column[Any]) -> Column[Any]:
    kind = of.type.impl_instance if isinstance(of.type, TypeDecorator) else of.type
    return Column(of.name, kind, primary_key=of.primary_key, autoincrement=False)


class Stored:
    """A table with its columns in their stored form: instants are numbers."""

    def __init__(self, of: Table) -> None:
        self.name = of.name
        self.of = of
        self.plain = Table(of.name, _PLAIN, *map(_plain, of.columns))
        self.key: Sequence[Column[Any]] = [self.plain.c[c.name] for c in of.primary_key]
        self._places = [list(of.columns.keys()).index(c.name) for c in of.primary_key]

    def key_of(self, row: Row) -> Key:
        """Return the primary key of a row."""
        return tuple(row[place] for place in self._places)

    def dumped(self, key: Key) -> str:
        """Return a key as text that `loaded` reads."""
        return json.dumps([v.isoformat() if isinstance(v, date) else v for v in key])

    def loaded(self, text: str) -> Key:
        """Return the key in a text written by `dumped`."""
        found = zip(self.key, json.loads(text), strict=True)
        return tuple(date.fromisoformat(v) if isinstance(c.type, Date) else v for c, v in found)

    def rows(self, conn: Connection, after: Key | None = None) -> Generator[Row]:
        """Yield the rows in the order of keys, from the one after *after*; few are held at once."""
        asked = self._in_order()
        if after is not None:
            asked = asked.where(tuple_of(*self.key) > tuple_of(*after, types=self._types))
        with conn.execute(asked, execution_options={"yield_per": AT_ONCE}) as found:
            for part in found.partitions():
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
        text = _encoded(row)
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % _MODULUS
        self.rows += 1
        return len(text) + sum(len(value) for value in row if type(value) is bytes)

    @property
    def digest(self) -> str:
        """Return the checksum as 32 hexadecimal digits."""
        return f"{self._sum:032x}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sum):
            return NotImplemented
        return (self.rows, self._sum) == (other.rows, other._sum)

    __hash__ = None  # type: ignore[assignment]  # it is mutable


def size(row: Row) -> int:
    """Return the approximate size of a row in bytes."""
    return Sum().add(row)


def _encoded(row: Row) -> bytes:
    return _JSON.encode(row).encode("utf-8", "surrogatepass")


def _other(value: object) -> list[str]:
    """Encode a date, or the hash of bytes, as a list, since no column can contain a list."""
    if isinstance(value, date):
        return [value.isoformat()]
    return [hashlib.blake2b(bytes(value), digest_size=16).hexdigest()]  # type: ignore[call-overload]  # bytes of either driver


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_other)

STORED: Mapping[str, Stored] = {each.name: Stored(each) for each in TABLES}
"""All tables by name, each after those it refers to."""
