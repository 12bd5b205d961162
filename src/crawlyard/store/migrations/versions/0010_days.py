"""Durations of a year and more, in the JSON of jobs and users, are written in days."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_AT_ONCE = 1000
_WRITTEN = '%":"P%Y%'
# in a text, the quotes would stand behind a backslash
_YEARS = re.compile(
    r'"(retention|duration|delay|crawl_delay_cap|timeout|first|cap)":"P(\d+)Y(?:(\d+)D)?'
)


def upgrade() -> None:
    conn = op.get_bind()
    for table, key, column in (("jobs", "no", "spec"), ("users", "id", "quota")):
        stored = sa.table(table, sa.column(key), sa.column(column))
        for rows in _parts(conn, stored.c[key], stored.c[column]):
            for which, text in rows:
                there = sa.update(stored).where(stored.c[key] == which)
                conn.execute(there.values({column: _YEARS.sub(_in_days, text)}))


def _in_days(found: re.Match[str]) -> str:
    name, years, days = found.groups("0")
    return f'"{name}":"P{365 * int(years) + int(days)}D'


def _parts(
    conn: sa.Connection, key: sa.ColumnClause[Any], column: sa.ColumnClause[Any]
) -> Iterator[Sequence[Any]]:
    """Yield the rows that may have one, some at a time."""
    written = sa.select(key, column).where(column.like(_WRITTEN)).order_by(key).limit(_AT_ONCE)
    rows = conn.execute(written).all()
    while rows:
        yield rows
        rows = conn.execute(written.where(key > rows[-1][0])).all()
