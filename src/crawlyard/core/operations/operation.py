"""Long operations: bulk actions and backfills that outlast a request."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated

from msgspec import Struct

from crawlyard.core.fields import HIDDEN

MOST_FAILURES = 100
"""Failures of an operation that are stored with their reasons."""


class OperationKind(StrEnum):
    """Tasks that run as operations in the background."""

    JOBS = auto()  # an action on the jobs that match a filter
    BACKFILL = auto()  # of a schedule


class OperationState(StrEnum):
    """Lifecycle of an operation: running, then one of the others."""

    RUNNING = auto()
    COMPLETED = auto()  # items may have failed: see `failures`
    CANCELLED = auto()
    FAILED = auto()  # it could not continue


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
    state: OperationState = OperationState.RUNNING
    request: Mapping[str, object]  # JSON: the action
    total: int = 0
    done: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()  # the first `MOST_FAILURES`
    cursor: Annotated[str, HIDDEN] = ""  # position reached
    detail: str = ""
    # set by the process that works on it
    leased_until: Annotated[datetime | None, HIDDEN] = None
    version: int = 1
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
