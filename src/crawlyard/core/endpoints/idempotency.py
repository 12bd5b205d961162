"""Stored replies to requests that may be repeated."""

from datetime import datetime, timedelta

from msgspec import Struct

REPLIES_LAST = timedelta(hours=24)
"""How long a request is recognized by its Idempotency-Key."""

DEAD_AFTER = timedelta(minutes=2)
"""A request in progress for longer was abandoned: its process has died."""

MAX_KEY = 255
"""Characters of an Idempotency-Key."""

SHOWN_ONCE = frozenset({"secret", "share_url", "token"})
"""Fields of a reply that are not stored."""


def is_key(text: str) -> bool:
    """Return whether *text* may be an Idempotency-Key."""
    return 0 < len(text) <= MAX_KEY and text.isprintable()


class StoredReply(Struct, frozen=True, kw_only=True):
    """The response to a request with an Idempotency-Key; ``status`` is 0 until it is complete."""

    asker: str  # the credential's id
    key: str
    request: str  # SHA-256 of method, path and body, hex
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    created_at: datetime
