"""Auto-increment counters of tables, copied so that a key is never reused, even after a copy."""

from collections.abc import Mapping

from sqlalchemy import Connection, column, delete, func, insert, select, table, text

from crawlyard.store.admin.content import STORED, Stored
from crawlyard.store.db.database import is_postgres

_GIVEN = table("sqlite_sequence", column("name"), column("seq"))

_LAST = text("SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:name, :key) AS regclass))")


def counters(conn: Connection) -> Mapping[str, int]:
    """Return the last generated key by name of each auto-incrementing table; 0: none yet."""
    return {name: _given(conn, of) for name, of in STORED.items() if _counts(of)}


def set_counters(conn: Connection, last: Mapping[str, int]) -> None:
    """Set the counters of tables, so that they continue after the keys in *last*."""
    for name, given in last.items():
        if is_postgres(conn):
            key = STORED[name].key[0].name
            sequence = func.pg_get_serial_sequence(name, key)
            # no effect without a sequence; (1, false): no key has been generated yet
            conn.execute(select(func.setval(sequence, max(1, given), given > 0)))
        elif STORED[name].of.dialect_options["sqlite"]["autoincrement"]:
            conn.execute(delete(_GIVEN).where(_GIVEN.c.name == name))
            conn.execute(insert(_GIVEN).values(name=name, seq=given))


def _counts(of: Stored) -> bool:
    return of.of.autoincrement_column is not None


def _given(conn: Connection, of: Stored) -> int:
    key = of.key[0]
    highest = conn.scalar(select(func.max(key))) or 0
    if is_postgres(conn):
        last = conn.scalar(_LAST, {"name": of.name, "key": key.name})
    else:
        last = conn.scalar(select(_GIVEN.c.seq).where(_GIVEN.c.name == of.name))
    return max(int(highest), int(last or 0))
