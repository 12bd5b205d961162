"""Error classes of Crawlyard.

    CrawlyardError
    ├── Refused                 can never succeed as requested: change the request
    │   ├── Invalid             a value is invalid
    │   │   └── NotPublic       an address that is neither public nor opened
    │   ├── NotFound            does not exist, or is not visible to you
    │   ├── Unauthenticated     the credentials are missing or invalid
    │   ├── Forbidden           you can see it, but not do this to it
    │   ├── QuotaExceeded       more than you may have at once
    │   └── IllegalMove         the job's state does not allow it
    ├── Conflict                changed by someone else meanwhile: read it again
    │   ├── Stale               not at the version that was named
    │   └── Unconfirmed         has consequences that must be confirmed first
    ├── RateLimited             too many requests: slow down
    └── Unavailable             something Crawlyard needs is down: try again later
        ├── StoreUnavailable    the database is locked or unreachable
        │   └── StoreFull       there is no space left
        └── SchemaMismatch      the database does not have the schema of this program

Whether to retry depends on the class, never on the text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

MAX_FAULTS = 50
"""Maximum number of faults of one input in an error."""


class CrawlyardError(Exception):
    """Base class: catch it to catch every error that Crawlyard raises on purpose."""

    code = "internal"
    problem: Mapping[str, Any] = MappingProxyType({})
    """For an error response of a server: the whole body, as defined by RFC 9457."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all attributes; by default, only the message is passed to `__init__`."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[CrawlyardError], args: tuple[Any, ...], attributes: Mapping[str, Any]
) -> CrawlyardError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class Refused(CrawlyardError):
    """The request can never succeed as it is."""

    code = "refused"


class Invalid(Refused):
    """A value is invalid; *field* names it, *message* explains why without the name.

    *position* is that of the offending character, if a text cannot be parsed. `faults` has all
    faults of the same input, this one first.
    """

    code = "validation_failed"

    def __init__(
        self,
        field: str,
        message: str,
        position: int | None = None,
        more: "Sequence[Invalid]" = (),
    ) -> None:
        super().__init__("; ".join([f"{field}: {message}", *map(str, more)]))
        self.field = field
        self.position = position
        self.message = message
        self._more = tuple(more)

    @property
    def faults(self) -> "tuple[Invalid, ...]":
        """All faults, each as an error of its own."""
        if not self._more:
            return (self,)
        return type(self)(self.field, self.message, self.position), *self._more

    @classmethod
    def of(cls, errors: "Iterable[Invalid]") -> "Invalid":
        """Return one error with the faults of all *errors*, each once; at most `MAX_FAULTS`."""
        faults = {str(fault): fault for error in errors for fault in error.faults}
        first, *more = [*faults.values()][:MAX_FAULTS]
        return type(first)(first.field, first.message, first.position, more) if more else first

    def map(self, change: "Callable[[Invalid], Invalid]") -> "Invalid":
        """Return the error with *change* applied to each fault."""
        return Invalid.of(change(fault) for fault in self.faults)


class NotPublic(Invalid):
    """A URL has an address that is not public, and the job does not allow it."""


class NotFound(Refused):
    """It does not exist, or is not visible to the actor."""

    code = "not_found"


class Unauthenticated(Refused):
    """The caller is not authenticated."""

    code = "unauthenticated"


class QuotaExceeded(Refused):
    """The user has reached a limit of their quota; *quota* names it."""

    code = "limit_exceeded"

    def __init__(self, quota: str, message: str) -> None:
        super().__init__(message)
        self.quota = quota


class Forbidden(Refused):
    """The actor can see it, but may not do this to it."""

    code = "forbidden"


class IllegalMove(Refused):
    """The job's state does not allow the move; *allowed* lists the moves that it allows."""

    code = "invalid_transition"

    def __init__(self, message: str, allowed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class Conflict(CrawlyardError):
    """The record changed since it was read, or the lease is no longer ours."""

    code = "conflict"


class Stale(Conflict):
    """The change was meant for another version; *current* is the current one."""

    code = "precondition_failed"

    def __init__(self, message: str, current: int) -> None:
        super().__init__(message)
        self.current = current


class Unconfirmed(Conflict):
    """The change affects other things and must be confirmed; *schedules* lists them."""

    code = "confirmation_required"

    def __init__(self, message: str, schedules: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.schedules = tuple(schedules)


Version: TypeAlias = int | tuple[int, ...] | None
"""The version that a change expects; several: any of these; ``None``: any version."""


def check_version(thing: str, current: int, expected: Version) -> None:
    """Check that *thing* is at the version *expected* by a change.

    Raises:
        Stale: it is not.
    """
    if expected is not None and current not in (
        expected if isinstance(expected, tuple) else (expected,)
    ):
        raise Stale(f"{thing} is now at version {current}; read it again", current)


class RateLimited(CrawlyardError):
    """Too many requests were sent to the server."""

    code = "rate_limited"


class Unavailable(CrawlyardError):
    """Something that is needed is not responding."""

    code = "unavailable"


class StoreUnavailable(Unavailable):
    """The database is locked, read-only or unreachable; nothing was written."""

    code = "store_unavailable"


class StoreFull(StoreUnavailable):
    """The disk, or the space available to the database, is full; nothing was written."""

    code = "disk_full"


class SchemaMismatch(Unavailable):
    """The database does not have the schema of this program, and is not upgraded here."""

    code = "schema_mismatch"
