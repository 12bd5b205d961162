"""Sums that are maintained by appending: rows of steps, which are added to the sums later.

Transactions that append never wait for each other; those that update one row of the sums would.
Readers add the steps to the sums, in one statement.
"""

from collections import Counter
from typing import Any

from sqlalchemy import Connection, Table, delete, select

from crawlyard.store.db.bulk_rows import put_rows

AT_ONCE = 2_000
"""Number of steps that one transaction adds up: about 10 ms."""


def add_up(conn: Connection, steps: Table, sums: Table, most: int = AT_ONCE) -> bool:
    """Move the first *most* rows of *steps* to *sums*; return whether there may be more.

    *steps* has the columns of *sums*, and a key `no`.
    """
    key = [column.name for column in sums.primary_key]
    counted = [column.name for column in sums.columns if column.name not in key]
    # of two concurrent calls, the second skips the locked rows and takes others, or none
    first = select(steps).order_by(steps.c.no).limit(most).with_for_update(skip_locked=True)
    rows = conn.execute(first).mappings().all()
    totals: dict[tuple[Any, ...], Counter[str]] = {}
    for row in rows:
        total = totals.setdefault(tuple(row[name] for name in key), Counter())
        for name in counted:
            total[name] += row[name]
    # in the order of keys: all callers lock the sums in this order
    summed = [
        dict(zip(key, key_values, strict=True)) | {name: total[name] for name in counted}
        for key_values, total in sorted(totals.items())
        if any(total.values())
    ]
    put_rows(conn, sums, summed, adding=True)
    if rows:
        conn.execute(delete(steps).where(steps.c.no.in_([row["no"] for row in rows])))
    return len(rows) == most
