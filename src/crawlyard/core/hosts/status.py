"""Hosts as workers report them: requests, bookings, standing."""

from datetime import datetime

from msgspec import Struct

from crawlyard.core.hosts.rule import HostRule, HostState


class HostReport(Struct, frozen=True, kw_only=True):
    """What one worker does on one host."""

    host: str
    in_flight: int = 0
    at_once: int = 1
    delay_s: float = 0.0
    held_until: datetime | None = None  # because of its last refusal
    refusals: int = 0  # consecutive
    state: HostState = HostState.OPEN
    idle: bool = False  # no URLs wait for it
    waiting: int = 0  # waiting URLs that its jobs have in memory
    jobs: tuple[str, ...] = ()  # ids

    def is_held(self, now: datetime) -> bool:
        """Return whether requests are on hold because of a refusal."""
        return self.held_until is not None and self.held_until > now


class HostBooking(Struct, frozen=True, kw_only=True):
    """How far ahead all workers together have booked a host."""

    booked_until: datetime | None = None  # the first time that is not booked
    held_until: datetime | None = None  # when the host accepts requests again


class HostStanding(Struct, frozen=True, kw_only=True):
    """What all workers together do on one host, and its rule."""

    host: str
    in_flight: int = 0
    at_once: int  # the lowest that any of its jobs asks for; 0: no job uses it
    delay_s: float  # the longest
    refusals: int = 0  # consecutive
    held_until: datetime | None = None
    booked_until: datetime | None = None
    waiting: int = 0  # URLs that workers have in memory, at most about 10,000 per job
    jobs: tuple[str, ...] = ()  # ids, of those that the actor may see
    others: int = 0  # number of other users' jobs on this host
    workers: tuple[str, ...] = ()
    rule: HostRule | None = None
