"""Stored replies to requests that may be repeated."""

from datetime import datetime, timedelta

from msgspec import Struct

REPLIES_LAST = timedelta(hours=24)
"""How long a request is recognized by its Idempotency-Key."""


class Reply(Struct, frozen=True, kw_only=True):
    """The response to a request with an Idempotency-Key; ``status`` is 0 until it is complete."""

    asker: str  # the credential's id
    key: str
    request: str  # SHA-256 of method, path and body, hex
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    created_at: datetime
