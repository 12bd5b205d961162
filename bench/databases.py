"""Databases of benchmarks."""

import psycopg


async def emptied(postgres: str) -> None:
    """Delete all that a database has."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as conn:
        await conn.execute("DROP SCHEMA public CASCADE")
        await conn.execute("CREATE SCHEMA public")
