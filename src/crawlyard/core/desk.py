"""Saved views, bulk operations, settings sections, and replies to idempotent requests."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum, auto

from msgspec import Struct, field

from crawlyard.errors import Invalid

MAX_VIEW_NAME = 100
MAX_VIEW_QUERY = 2_000
MOST_FAILURES = 100
"""Failures of an operation that are stored with their reasons."""


class SavedView(Struct, frozen=True, kw_only=True):
    """A named filter of one user."""

    id: str
    owner: str
    name: str
    page: str = "jobs"  # page of the dashboard
    query: str = ""
    version: int = 1
    created_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > MAX_VIEW_NAME:
            expected = f"expected 1 to {MAX_VIEW_NAME} characters on one line"
            raise Invalid("name", f"{expected}, got {self.name!r}")
        if len(self.query) > MAX_VIEW_QUERY:
            expected = f"expected at most {MAX_VIEW_QUERY} characters"
            raise Invalid("query", f"{expected}, got {len(self.query)}")


class OperationKind(StrEnum):
    """What kind of operation it is."""

    JOBS = auto()  # an action on the jobs that a filter means
    BACKFILL = auto()  # of a schedule


class OperationState(StrEnum):
    """The state of an operation."""

    RUNNING = auto()
    COMPLETED = auto()  # some of it may have failed: `failures` says what
    CANCELLED = auto()
    FAILED = auto()  # it could not go on


class Failure(Struct, frozen=True, kw_only=True):
    """One item that failed."""

    id: str
    code: str
    detail: str


class Operation(Struct, frozen=True, kw_only=True):
    """A background operation on many items, which continues after a crash."""

    id: str
    owner: str
    kind: OperationKind
    request: Mapping[str, object]  # JSON: what to do
    state: OperationState = OperationState.RUNNING
    total: int = 0
    done: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()  # the first `MOST_FAILURES`
    cursor: str = ""  # position reached
    detail: str = ""
    leased_until: datetime | None = None  # set by the process that works on it
    version: int = 1
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None


class Section(Struct, frozen=True, kw_only=True):
    """One section of the settings, as stored."""

    name: str
    value: Mapping[str, object] = field(default_factory=dict)  # JSON
    version: int = 0  # 0: never written
    updated_at: datetime | None = None
    actor: str = ""


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


class Setting(Struct, frozen=True, kw_only=True):
    """A section as written, and its effective values, with fallbacks for what it leaves out."""

    section: Section
    effective: Mapping[str, object]
