"""Daily usage of owners: written by checkpoints, read by quotas and statistics."""

from collections.abc import Mapping, Sequence
from datetime import date

from sqlalchemy import Connection, Label, RowMapping, Subquery, func, select, union_all

from crawlyard.core.jobs.limits import Usage
from crawlyard.store.db.bulk_rows import insert_new, put_rows
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.sums import add_up
from crawlyard.store.tables.access import day_steps, days


def _days_and_steps() -> Subquery:
    steps = select(*(day_steps.c[each.name] for each in days.c))
    return union_all(select(*days.c), steps).subquery("used")


used = _days_and_steps()
"""Usage by owner and day, in several rows: only their sum is the usage of a day."""

USAGE: Sequence[Label[int]] = tuple(
    func.coalesce(func.sum(used.c[name]), 0).label(name) for name in ("pages", "bytes", "errors")
)
"""The columns of a query that adds up `used`, as `usage_in` reads them."""


def usage_in(row: RowMapping) -> Usage:
    """Decode a row with the columns `USAGE`."""
    # Postgres returns the sum of a BIGINT column as NUMERIC
    return Usage(**{each.name: int(row[each.name]) for each in USAGE})


def add_usage(conn: Connection, of: Mapping[str, Usage], day: date) -> None:
    """Add the usage of each owner *of* the mapping to that of *day*."""
    rows = [
        {"owner": owner, "day": day, "pages": u.pages, "bytes": u.bytes, "errors": u.errors}
        for owner, u in sorted(of.items())
    ]
    if is_postgres(conn):
        insert_new(conn, day_steps, rows)
    else:  # no transaction waits for the row: there is one writer at a time
        put_rows(conn, days, rows, adding=True)


def add_up_usage(conn: Connection) -> bool:
    """Add the first steps to the sums of days; return whether there may be more."""
    return add_up(conn, day_steps, days)
