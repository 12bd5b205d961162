"""Hosts: rules of operators, load from workers, cached robots.txt files."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated

from msgspec import Struct

from crawlyard.core.fields import HIDDEN, answer_name
from crawlyard.errors import Invalid

LONGEST_DELAY_S = 86_400.0
MOST_AT_ONCE = 256
MAX_NOTE = 500

_HOST = re.compile(r"[^\s/?#@\\]{1,260}")  # as `engine.urls.host_of` writes it


class HostState(StrEnum):
    """States of a host: whether requests are sent to it."""

    OPEN = auto()  # requests are sent
    PAUSED = auto()  # no requests: its URLs wait
    BLOCKED = auto()  # no requests: its URLs are skipped


class DelaySource(StrEnum):
    """Sources of the delay between two requests to a host: the longest delay applies."""

    JOB = auto()  # the spec of a job of the same worker
    ROBOTS = auto()  # its robots.txt
    RULE = auto()  # the rule that an operator set
    OTHERS = auto()  # a job of another worker


class HostRule(Struct, frozen=True, kw_only=True):
    """The rule for one host, for all jobs of all users. It can only slow down jobs and robots.txt.

    Raises:
        Invalid: a value is out of its range; the message names the field.
    """

    host: Annotated[str, HIDDEN]  # as in a URL, with a non-default port
    state: HostState = HostState.OPEN
    delay_s: float | None = None  # minimum time between two requests; None: as jobs request
    at_once: int | None = None  # maximum concurrent requests; None: as jobs request
    note: str = ""  # reason, for people
    version: int = 1
    updated_at: datetime
    actor: Annotated[str, answer_name("updated_by")] = ""  # a user's id

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host) or self.host != self.host.lower():
            expected = "expected a host in lower case, with its port if it is not the default"
            raise Invalid("host", f"{expected}, got {self.host[:100]!r}")
        delay_s, at_once = self.delay_s, self.at_once
        if delay_s is not None and not 0 <= delay_s <= LONGEST_DELAY_S:  # also rejects NaN
            expected = f"expected 0 s to {LONGEST_DELAY_S:g} s"
            raise Invalid("delay_s", f"{expected}, got {_format_number(delay_s)} s")
        if at_once is not None and not 1 <= at_once <= MOST_AT_ONCE:
            raise Invalid("at_once", f"expected 1 to {MOST_AT_ONCE}, got {at_once}")
        if len(self.note) > MAX_NOTE:
            expected = f"expected at most {MAX_NOTE} characters"
            raise Invalid("note", f"{expected}, got {len(self.note)}")

    def effective_delay_s(self, delay_s: float) -> float:
        """Return the effective delay, in seconds, for jobs that request *delay_s*."""
        return max(delay_s, self.delay_s or 0.0)

    def effective_at_once(self, at_once: int) -> int:
        """Return the effective number of concurrent requests for jobs that request *at_once*."""
        return at_once if self.at_once is None else min(at_once, self.at_once)


def _format_number(number: float) -> str:
    return f"{number:g}" if math.isfinite(number) else str(number)


# --- load from workers


class HostReport(Struct, frozen=True, kw_only=True):
    """Load from one worker on one host."""

    host: str
    in_flight: int = 0
    at_once: int = 1
    delay_s: float = 0.0
    delay_from: DelaySource = DelaySource.JOB
    held_until: datetime | None = None  # because of its last refusal
    refusals: int = 0  # consecutive
    state: HostState = HostState.OPEN
    idle: bool = False  # no URLs wait for it
    waiting: int = 0  # waiting URLs that its jobs have in memory
    queues: Mapping[str, int] = {}  # of these, the number by job id
    jobs: tuple[str, ...] = ()  # ids

    def is_held(self, now: datetime) -> bool:
        """Return whether requests are on hold because of a refusal."""
        return self.held_until is not None and self.held_until > now


class HostBooking(Struct, frozen=True, kw_only=True):
    """Time until which all workers together have booked a host, or it accepts no requests."""

    booked_until: datetime | None = None  # the first time that is not booked
    held_until: datetime | None = None  # when the host accepts requests again


# --- robots.txt


class RobotsFile(Struct, frozen=True, kw_only=True):
    """A cached robots.txt, shared by all jobs for a day: the last answer, after redirects."""

    origin: str  # scheme, host and port
    status: int
    body: bytes = b""  # as received; empty unless the status is 2xx
    fetched_at: datetime
    expires_at: datetime
