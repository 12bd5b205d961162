"""Attempts of a job, reconstructed from its events."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum, auto

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.event import Event, EventName


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    RUNNING = auto()  # it has not
    COMPLETED = auto()
    FAILED = auto()  # and no other follows
    REQUEUED = auto()  # it failed and another follows, or its worker was stopped
    WORKER_LOST = auto()
    PAUSED = auto()
    CANCELLED = auto()


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt: the time from a claim by a worker to its end."""

    number: int  # from 1
    worker: str
    begun_at: datetime
    ended_at: datetime | None = None
    outcome: AttemptOutcome = AttemptOutcome.RUNNING
    reason: str = ""  # of the job's state afterwards
    detail: str = ""


_ENDS: Mapping[EventName, AttemptOutcome] = {
    EventName.COMPLETED: AttemptOutcome.COMPLETED,
    EventName.FAILED: AttemptOutcome.FAILED,
    EventName.REQUEUED: AttemptOutcome.REQUEUED,
    EventName.WORKER_LOST: AttemptOutcome.WORKER_LOST,
    EventName.PAUSED: AttemptOutcome.PAUSED,
    EventName.CANCELLED: AttemptOutcome.CANCELLED,
}

TELLING = frozenset({EventName.STARTED, *_ENDS})
"""The events that begin or end attempts."""


def attempts_of(events: Iterable[Event]) -> list[Attempt]:
    """Return the attempts found in a job's *events* (oldest first), in order.

    A job that was paused or cancelled while it was waiting had no attempt to end.
    """
    found: list[Attempt] = []
    for event in events:
        if event.name is EventName.STARTED:
            worker = event.actor.removeprefix("worker:")
            found.append(Attempt(number=len(found) + 1, worker=worker, begun_at=event.at))
        elif event.name in _ENDS and found and found[-1].ended_at is None:
            found[-1] = replace(
                found[-1],
                ended_at=event.at,
                outcome=_ENDS[event.name],
                reason=str(event.data.get("reason", "")),
                detail=str(event.data.get("detail", "")),
            )
    return found
