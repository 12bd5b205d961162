"""Database errors, translated into messages with a remedy."""

import errno
import sqlite3
from enum import Enum, auto

from sqlalchemy.exc import DBAPIError

from crawlyard.errors import StoreFull, StoreUnavailable

_DISK_FULL = "has no space left on its disk; free some and try again"

_NO_FTS5 = "needs SQLite with FTS5, which this build of Python lacks; use another build"

_SQLITE = {
    "SQLITE_BUSY": "is locked by another process; stop that process, or try again",
    "SQLITE_LOCKED": "is locked by another process; stop that process, or try again",
    "SQLITE_FULL": _DISK_FULL,
    "SQLITE_READONLY": "cannot be written; make the file and its folder writable",
    "SQLITE_CANTOPEN": "cannot be opened; check that its folder exists and can be written",
    "SQLITE_PERM": "cannot be opened; check its permissions",
    "SQLITE_AUTH": "cannot be opened; check its permissions",
    "SQLITE_IOERR": "cannot be read or written; check its disk, and whether it is full",
    "SQLITE_CORRUPT": "is damaged; restore it from a backup",
    "SQLITE_NOTADB": "is not a SQLite database; name another file or move it away",
    "SQLITE_PROTOCOL": "is locked by another process; stop that process, or try again",
    "SQLITE_NOLFS": "has grown beyond what its file system allows; move it to another",
}

# Source: PostgreSQL manual, appendix A, "PostgreSQL Error Codes". Five characters are a
# single code, two a class.
_POSTGRES = {
    "28": "refuses the user or the password; check the database URL",
    "3D000": "has no such database; create it or check the database URL",
    "53100": _DISK_FULL,
    "53300": "has no free connection; raise max_connections or run fewer workers",
    "53": "is out of resources; try again later",
    "57P03": "is starting up or shutting down; try again in a moment",
    "25P03": (
        "ended a transaction in which this process sent nothing for too long: its machine is"
        " overloaded or was suspended; run less there, or raise lease_s"
    ),
    "57014": "cancelled the statement; check statement_timeout",
    "55P03": "has the table locked by another session; try again",
    "25006": "is read-only, perhaps a standby; use the primary",
    "42501": "does not let this user do that; grant it the rights on its schema",
    "58": "cannot read or write its files; check its disk",
    "XX001": "says that its data is damaged; restore it from a backup",
}


class Overtaken(Exception):
    """A row was changed by another transaction after this one read it: retry from the start."""


class TransactionAborted(Enum):
    """Retry rule for a transaction after an error on Postgres."""

    NO = auto()
    NOW = auto()  # it conflicted with another transaction and was rolled back
    RECONNECTED = auto()  # the connection or the server went away


def store_error(error: DBAPIError | sqlite3.Error | OSError, name: str) -> StoreUnavailable | None:
    """Translate *error* for users of the store *name*; ``None`` if it is a bug in Crawlyard."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        message: str | None = _DISK_FULL if full else f"cannot be used: {error.strerror or error}"
    elif isinstance(error, DBAPIError) and not isinstance(error.orig, sqlite3.Error):
        message = _postgres_message(error)
    else:
        cause = error.orig if isinstance(error, DBAPIError) else error
        # extended codes, such as SQLITE_IOERR_WRITE, begin with the primary one
        code = "_".join(getattr(cause, "sqlite_errorname", "").split("_")[:2])
        message = _NO_FTS5 if "no such module: fts" in str(cause) else _SQLITE.get(code)
    if not message:
        return None
    kind = StoreFull if message == _DISK_FULL else StoreUnavailable
    return kind(f"{name} {message}")


def _postgres_message(error: DBAPIError) -> str | None:
    state = sqlstate(error)
    if message := _POSTGRES.get(state) or _POSTGRES.get(state[:2]):
        return message
    retry = retryability(error)
    if retry is TransactionAborted.NO:
        return None
    if retry is TransactionAborted.NOW:
        return "is too busy: transactions conflict with each other; try again"
    if state:
        return f"ended the connection: {error.orig}"
    # a refused connection comes with a message, but without a code
    _, refused, why = str(error.orig).partition("FATAL:")
    if refused:
        return f"refuses the connection: {why.strip()}; check the database URL"
    return "does not answer; check that it runs and can be reached"


def sqlstate(error: DBAPIError) -> str:
    """Return the SQLSTATE, five characters, or an empty string if there is none."""
    return getattr(error.orig, "sqlstate", None) or ""


def retryability(error: DBAPIError) -> TransactionAborted:
    """Return whether and when the transaction may be retried after *error*."""
    state = sqlstate(error)
    if state in {"40001", "40P01"}:  # serialization failure, deadlock
        return TransactionAborted.NOW
    # class 08: connection; 57P01 to 57P05: the server or this session was shut down
    if error.connection_invalidated or state[:2] == "08" or state[:3] == "57P":
        return TransactionAborted.RECONNECTED
    # psycopg sets no SQLSTATE if the server sent none: connection refused, closed, timed out
    lost = not state and type(error.orig).__name__ in {"OperationalError", "ConnectionTimeout"}
    return (
        TransactionAborted.RECONNECTED
        if lost and not isinstance(error.orig, sqlite3.Error)
        else TransactionAborted.NO
    )
