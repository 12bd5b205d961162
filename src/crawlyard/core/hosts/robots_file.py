"""A cached robots.txt, shared by all jobs for a day."""

from datetime import datetime

from msgspec import Struct


class RobotsFile(Struct, frozen=True, kw_only=True):
    """The last answer of an origin, after redirects."""

    origin: str  # scheme, host and port
    status: int
    body: bytes = b""  # as received; empty unless the status is 2xx
    fetched_at: datetime
    expires_at: datetime
