"""Pooled connections to Postgres: one that has rested is tried before it is used.

To try each before each transaction, as SQLAlchemy's own option does, is one round trip more for
every one of them: half of the time of a small read. What breaks within seconds of its last use
is noticed by the transaction itself, which is then tried again.
"""

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

from crawlyard.clock import Clock

RESTED_S = 5.0
"""A connection that nobody has used for longer is tried first."""

_LEFT_AT = "crawlyard_left_at"


def ping_rested(engine: Engine, clock: Clock) -> None:
    """Let *engine* try its connections that have rested, and replace those that are dead."""

    @event.listens_for(engine, "checkin")
    def leave(_: object, record: Any) -> None:
        record.info[_LEFT_AT] = clock.monotonic()

    @event.listens_for(engine, "checkout")
    def take(connection: Any, record: Any, _: object) -> None:
        left_at = record.info.get(_LEFT_AT)
        if left_at is None or clock.monotonic() - left_at < RESTED_S:
            return
        if not _answers(engine, connection):
            raise DisconnectionError  # the pool connects anew


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
