"""All tables as they are stored, and what tells whether two of them hold the same."""

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
"""Each after those that it refers to."""

AT_ONCE = 100
"""Rows that are fetched together: bodies of pages are among them."""

_SAMPLE = 100
_MODULUS = 2**128


_PLAIN = MetaData()


def _plain(of: Column[Any]) -> Column[Any]:
    kind = of.type.impl_instance if isinstance(of.type, TypeDecorator) else of.type
    return Column(of.name, kind, primary_key=of.primary_key, autoincrement=False)


class Stored:
    """One table with its columns as the database has them: instants are numbers."""

    def __init__(self, of: Table) -> None:
        self.name = of.name
        self.of = of
        self.plain = Table(of.name, _PLAIN, *map(_plain, of.columns))
        self.key: Sequence[Column[Any]] = [self.plain.c[c.name] for c in of.primary_key]
        self._places = [list(of.columns.keys()).index(c.name) for c in of.primary_key]

    def key_of(self, row: Row) -> Key:
        """Return what tells a row from all others."""
        return tuple(row[place] for place in self._places)

    def dumped(self, key: Key) -> str:
        """Return a key as text, for `loaded`."""
        return json.dumps([v.isoformat() if isinstance(v, date) else v for v in key])

    def loaded(self, text: str) -> Key:
        """Return the key that `dumped` wrote."""
        found = zip(self.key, json.loads(text), strict=True)
        return tuple(date.fromisoformat(v) if isinstance(c.type, Date) else v for c, v in found)

    def rows(self, conn: Connection, after: Key | None = None) -> Generator[Row]:
        """Yield the rows, those behind the key *after*, in the order of keys; few at once."""
        asked = self._in_order()
        if after is not None:
            asked = asked.where(tuple_of(*self.key) > tuple_of(*after, types=self._types))
        with conn.execute(asked, execution_options={"yield_per": AT_ONCE}) as found:
            for part in found.partitions():
                yield from map(tuple, part)

    def count(self, conn: Connection) -> int:
        """Return how many rows there are."""
        return conn.scalar(select(func.count()).select_from(self.plain)) or 0

    def weight(self, conn: Connection) -> float:
        """Return about how many bytes of text a row has, by the first of them."""
        sample = [tuple(row) for row in conn.execute(self._in_order().limit(_SAMPLE))]
        return sum(map(size, sample)) / len(sample) if sample else 0.0

    def dicts(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return rows as an insert takes them."""
        names = [c.name for c in self.plain.columns]
        return [dict(zip(names, row, strict=True)) for row in rows]

    @property
    def _types(self) -> list[TypeEngine[Any]]:
        return [c.type for c in self.key]

    def _in_order(self) -> Select[Any]:
        return select(*self.plain.columns).order_by(*self.key)


class Sum:
    """How many rows there are, and a hash of them all in whatever order they come.

    The sum of the rows' own hashes: two databases seldom sort text alike.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: Row) -> int:
        """Take one more row; return about how many bytes it has."""
        text = _encoded(row)
        digest = hashlib.blake2b(text, digest_size=16).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % _MODULUS
        self.rows += 1
        return len(text) + sum(len(value) for value in row if type(value) is bytes)

    @property
    def digest(self) -> str:
        """Return the hash, 32 hexadecimal digits."""
        return f"{self._sum:032x}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sum):
            return NotImplemented
        return (self.rows, self._sum) == (other.rows, other._sum)

    __hash__ = None  # type: ignore[assignment]  # it changes


def size(row: Row) -> int:
    """Return about how many bytes a row has."""
    return Sum().add(row)


def _encoded(row: Row) -> bytes:
    return _JSON.encode(row).encode("utf-8", "surrogatepass")


def _other(value: object) -> list[str]:
    """Return what JSON has no word for, as what no column of ours can hold: a list."""
    if isinstance(value, date):
        return [value.isoformat()]
    return [hashlib.blake2b(bytes(value), digest_size=16).hexdigest()]  # type: ignore[call-overload]  # bytes of either driver


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_other)

STORED: Mapping[str, Stored] = {each.name: Stored(each) for each in TABLES}
"""All tables by their names, each after those that it refers to."""
