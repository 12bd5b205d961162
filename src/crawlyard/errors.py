"""Every error that Crawlyard raises on purpose.

    CrawlyardError
    ├── Refused                 can never succeed as asked: change the request
    │   ├── Invalid             a value is not what is expected
    │   ├── NotFound            no such thing, or not yours to see
    │   ├── Unauthenticated     nobody knows who asks
    │   ├── Forbidden           yours to see, not yours to do
    │   ├── QuotaExceeded       more than you may have at once
    │   └── IllegalMove         the job's state does not allow it
    ├── Conflict                somebody changed it meanwhile: read again
    │   ├── Stale               it is not at the version that was named
    │   └── Unconfirmed         it has consequences that have to be confirmed first
    ├── RateLimited             too many requests: ask more slowly
    └── Unavailable             something we need is away: try again later
        ├── StoreUnavailable    the database is locked, unreachable
        │   └── StoreFull       there is no room for more
        └── SchemaMismatch      the database has not the schema of this program

Whether to try again is decided by the class, never by the text.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any


class CrawlyardError(Exception):
    """The root: catch it to catch everything that Crawlyard raises on purpose."""

    code = "internal"
    problem: Mapping[str, Any] = MappingProxyType({})
    """Of an error that a server answered with: the whole body, as RFC 9457 has it."""


class Refused(CrawlyardError):
    """The request can never succeed as it is."""

    code = "refused"


class Invalid(Refused):
    """A value is not what is expected; *field* names it, *message* says it without the name.

    *position* is that of the character to blame, where a text cannot be read.
    """

    code = "validation_failed"

    def __init__(self, field: str, message: str, position: int | None = None) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.position = position
        self.message = message


class NotFound(Refused):
    """There is no such thing, or the actor may not know of it."""

    code = "not_found"


class Unauthenticated(Refused):
    """Who asks did not prove who he is."""

    code = "unauthenticated"


class QuotaExceeded(Refused):
    """The user has as much as his quota allows; *quota* names which."""

    code = "limit_exceeded"

    def __init__(self, quota: str, message: str) -> None:
        super().__init__(message)
        self.quota = quota


class Forbidden(Refused):
    """The actor may see the thing, but not do this to it."""

    code = "forbidden"


class IllegalMove(Refused):
    """The job's state does not allow the move; *allowed* lists what it does allow."""

    code = "invalid_transition"

    def __init__(self, message: str, allowed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class Conflict(CrawlyardError):
    """The record changed since it was read, or the lease is no longer ours."""

    code = "conflict"


class Stale(Conflict):
    """A change was meant for another version than there is; *current* is the one there is."""

    code = "precondition_failed"

    def __init__(self, message: str, current: int) -> None:
        super().__init__(message)
        self.current = current


class Unconfirmed(Conflict):
    """The change affects other things and has to be confirmed; *schedules* lists them."""

    code = "confirmation_required"

    def __init__(self, message: str, schedules: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.schedules = tuple(schedules)


def check_version(thing: str, current: int, meant: int | None) -> None:
    """Check that *thing* is at the version that a change is *meant* for; ``None``: at any.

    Raises:
        Stale: it is not.
    """
    if meant not in (None, current):
        raise Stale(f"{thing} is at version {current} by now: read it again", current)


class RateLimited(CrawlyardError):
    """The server was asked too often."""

    code = "rate_limited"


class Unavailable(CrawlyardError):
    """Something that is needed does not answer now."""

    code = "unavailable"


class StoreUnavailable(Unavailable):
    """The database is locked, read-only or unreachable; nothing was written."""

    code = "store_unavailable"


class StoreFull(StoreUnavailable):
    """The disk, or the room that the database may take, is full; nothing was written."""

    code = "disk_full"


class SchemaMismatch(Unavailable):
    """The database does not have the schema of this program, and is not upgraded here."""

    code = "schema_mismatch"
