"""What operators say of a host: whether it may be asked, and how gently."""

import math
import re
from datetime import datetime
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.errors import Invalid

LONGEST_DELAY_S = 86_400.0
MOST_AT_ONCE = 256
MAX_NOTE = 500

_HOST = re.compile(r"[^\s/?#@\\]{1,260}")  # as `engine.urls.host_of` writes it


class HostState(StrEnum):
    """Whether a host is asked at all."""

    OPEN = auto()  # it is
    PAUSED = auto()  # nobody asks it: what waits for it goes on waiting
    BLOCKED = auto()  # nobody asks it: its URLs are skipped


class HostRule(Struct, frozen=True, kw_only=True):
    """One host's rule, for all jobs of all users. Jobs and robots.txt may ask for gentler.

    Raises:
        Invalid: a value is out of its range; the message names the field.
    """

    host: str  # as in a URL, with a port that is not the scheme's own
    state: HostState = HostState.OPEN
    delay_s: float | None = None  # at least so long between two requests; None: as jobs wish
    at_once: int | None = None  # at most so many requests under way; None: as jobs wish
    note: str = ""  # why
    actor: str = ""  # who said so last
    version: int = 1
    updated_at: datetime

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host) or self.host != self.host.lower():
            expected = "expected a host in lower case, with its port if it has one of its own"
            raise Invalid("host", f"{expected}, got {self.host[:100]!r}")
        delay_s, at_once = self.delay_s, self.at_once
        if delay_s is not None and not 0 <= delay_s <= LONGEST_DELAY_S:  # NaN is neither
            expected = f"expected 0 s to {LONGEST_DELAY_S:g} s"
            raise Invalid("delay_s", f"{expected}, got {_told(delay_s)} s")
        if at_once is not None and not 1 <= at_once <= MOST_AT_ONCE:
            raise Invalid("at_once", f"expected 1 to {MOST_AT_ONCE}, got {at_once}")
        if len(self.note) > MAX_NOTE:
            expected = f"expected at most {MAX_NOTE} characters"
            raise Invalid("note", f"{expected}, got {len(self.note)}")

    def slowed(self, delay_s: float) -> float:
        """Return the delay that holds where jobs wish for *delay_s*, in seconds."""
        return max(delay_s, self.delay_s or 0.0)

    def narrowed(self, at_once: int) -> int:
        """Return how many requests at once hold where jobs wish for *at_once*."""
        return at_once if self.at_once is None else min(at_once, self.at_once)


def _told(number: float) -> str:
    return f"{number:g}" if math.isfinite(number) else str(number)
