"""Connection pool checks: a Postgres connection that has been idle is pinged before its next use.

SQLAlchemy's own option pings before every transaction, which adds a round trip to each: half of
the time of a small read. If a connection breaks within seconds of its last use, the transaction
itself fails and is tried again.
"""

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

from crawlyard.clock import Clock

RESTED_S = 5.0
"""A connection that has been idle for longer than this is pinged first."""

_LEFT_AT = "crawlyard_left_at"


def ping_rested(engine: Engine, clock: Clock) -> None:
    """Make *engine* ping idle connections at checkout, and replace those that are dead."""

    @event.listens_for(engine, "checkin")
    def leave(_: object, record: Any) -> None:
        record.info[_LEFT_AT] = clock.monotonic()

    @event.listens_for(engine, "checkout")
    def take(connection: Any, record: Any, _: object) -> None:
        left_at = record.info.get(_LEFT_AT)
        if left_at is None or clock.monotonic() - left_at < RESTED_S:
            return
        if not _answers(engine, connection):
            raise DisconnectionError  # makes the pool reconnect


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
