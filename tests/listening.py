"""When workers on Postgres hear of notices: what is told before is found by a poll alone."""

import asyncio

import psycopg

_SOON_S = 20.0
_LISTENING = """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def wait_for_listeners(url: str, listeners: int) -> None:
    """Return once so many workers have their locks."""
    async with asyncio.timeout(_SOON_S):
        while _count(url) != listeners:  # noqa: ASYNC110 - a database does not notify of this
            await asyncio.sleep(0.01)


def _count(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(_LISTENING.encode()).fetchone()
    return int(row[0]) if row else 0
