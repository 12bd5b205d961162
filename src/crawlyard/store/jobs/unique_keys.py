"""Unique keys of jobs: the job of an owner with a key."""

import hashlib
from collections.abc import Collection
from typing import TypeAlias

from sqlalchemy import Connection, func, select, tuple_

from crawlyard.core.jobs.job import Job
from crawlyard.store.codec.jobs import job_of
from crawlyard.store.db.database import is_postgres
from crawlyard.store.tables.jobs import UNIQUE, jobs

UniqueKeyOf: TypeAlias = tuple[str, str | None]
"""An owner, and a unique key of one of their jobs, if it has one."""


def with_keys(conn: Connection, keys: Collection[UniqueKeyOf]) -> dict[UniqueKeyOf, Job]:
    """Return the jobs that have these unique keys, by owner and key.

    Until the transaction ends, no other transaction adds a job with any of these keys.
    """
    present = [key for key in keys if key[1] is not None]
    if not present:
        return {}
    if is_postgres(conn):  # on SQLite, a transaction that writes is alone
        for number in sorted(map(advisory_key, present)):  # in order, to avoid deadlocks
            conn.execute(select(func.pg_advisory_xact_lock(number)))
    query = select(jobs).where(tuple_(jobs.c.owner, jobs.c.unique_key).in_(present), UNIQUE)
    rows = conn.execute(query).mappings()
    return {(row["owner"], row["unique_key"]): job_of(row) for row in rows}


def advisory_key(key: UniqueKeyOf) -> int:
    """Return the number of the advisory lock on Postgres for *key*."""
    digest = hashlib.blake2b("\0".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
