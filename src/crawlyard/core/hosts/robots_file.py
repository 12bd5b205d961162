"""A robots.txt as it was had: kept for a day, for all who ask its origin."""

from datetime import datetime

from msgspec import Struct


class RobotsFile(Struct, frozen=True, kw_only=True):
    """The last answer of an origin, after its redirects."""

    origin: str  # scheme, host and port
    status: int
    body: bytes = b""  # as it came; empty unless the status is of the 2xx
    fetched_at: datetime
    expires_at: datetime
