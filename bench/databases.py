"""Databases of benchmarks."""

import psycopg


async def empty_database(postgres: str) -> None:
    """Delete everything in a database."""
    async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as conn:
        await conn.execute("DROP SCHEMA public CASCADE")
        await conn.execute("CREATE SCHEMA public")
