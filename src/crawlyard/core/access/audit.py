"""Audit log: the events that users caused, and the addresses from which they did."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from crawlyard.core.answer import Wire
from crawlyard.core.events.event import RESERVED_ACTORS, UNKNOWN, Event

_MACHINES = RESERVED_ACTORS - {UNKNOWN}


class AuditOut(Wire, frozen=True, kw_only=True):
    """One action: who did what, on what, from which address and when."""

    seq: int
    at: datetime
    actor: str  # a user, or `unknown`
    action: str  # the name of the event
    subject: str
    owner: str
    address: str  # empty: on the machine of the database, without the API
    data: Mapping[str, Any]

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return the answer for an event that a user caused."""
        return cls.filled(event, action=event.name.value)


def audited_address(event: Event) -> str | None:
    """Return the address to store with an event; ``None`` if no user caused it."""
    by_machine = event.actor in _MACHINES or ":" in event.actor
    return None if by_machine else event.address
