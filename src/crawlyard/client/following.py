"""Where somebody is who follows events, whichever way he hears of them."""

import random
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from crawlyard.client.messages import Message
from crawlyard.core.answers.fleet.live import HappenedOut, HelloOut, LogLinesOut
from crawlyard.core.answers.fleet.watch import LineOut
from crawlyard.core.answers.jobs.jobs import EventOut, JobOut
from crawlyard.core.jobs.lifecycle import ENDED
from crawlyard.core.webhooks.webhook import PAYLOAD_VERSION
from crawlyard.errors import CrawlyardError, QuotaExceeded, RateLimited, Unavailable

STREAM = "text/event-stream"

SILENCE_S = 45.0
"""After which a connection is taken for dead: a server says something every 15."""

AWAY = (Unavailable, RateLimited, QuotaExceeded)
"""What a connection may fail with for now; where there are too many, the list will do."""

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 1.0
_ENDS = frozenset(state.value for state in ENDED)
_MOST_SKIPPED = 60  # looks at the list, until a connection is tried again


class Unstreamed(Unavailable):
    """What answers cannot stream: a proxy, perhaps."""


class Place:
    """The seq up to which everything was told; ``None`` until a server has named one."""

    def __init__(self, seq: int | None) -> None:
        self.seq = seq
        self.failures = 0  # in a row
        self._skipped = 0  # looks at the list, still, before a connection is tried

    def begin(self, seq: int) -> None:
        """Begin behind *seq*, unless somebody said where."""
        if self.seq is None:
            self.seq = seq

    def takes(self, seq: int) -> bool:
        """Go on to *seq*; tell whether it is new."""
        if self.seq is not None and seq <= self.seq:
            return False
        self.seq = seq
        return True

    def streams(self) -> bool:
        """Tell whether a connection is to be tried now; else the list is asked meanwhile."""
        if self._skipped:
            self._skipped -= 1
        return not self._skipped

    def lives(self) -> None:
        """Note that a connection has told something."""
        self.failures = 0

    def failed(self, error: CrawlyardError) -> None:
        """Note that there was no connection, or that it broke off."""
        self.failures += 1
        cannot = isinstance(error, Unstreamed)
        self._skipped = _MOST_SKIPPED if cannot else min(_MOST_SKIPPED, 2**self.failures)

    @property
    def pause_s(self) -> float:
        """Return how long to wait before whatever is next."""
        longest = min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S * 2.0 ** min(self.failures, 5))
        return longest * (0.75 + random.random() / 2)

    def missed(self, message: Message) -> bool:
        """Tell whether a message says that the list must be asked for what is missing."""
        if message.event == "hello":
            begun = msgspec.json.decode(message.data, type=HelloOut).seq
            if self.seq is None or begun < self.seq:
                self.seq = begun  # another store: its numbers have begun anew
            return False
        if message.event != "resync":
            return False
        if message.id is not None and self.seq is not None and int(message.id) < self.seq:
            self.seq = int(message.id)
            return False
        return True

    def event(self, message: Message) -> EventOut | None:
        """Return the event that a message tells of, if it is one and new."""
        if message.id is None or message.event == "resync":
            return None
        told = msgspec.json.decode(message.data, type=HappenedOut)
        if not self.takes(told.id):
            return None
        return EventOut(
            seq=told.id,
            name=told.type,
            subject=told.subject,
            job_id=told.job_id,
            owner=told.owner,
            at=told.at,
            actor=told.actor,
            data=told.data,
            v=PAYLOAD_VERSION,
        )


class LogPlace(Place):
    """The number of the line up to which all of a log was told, and whether that was all."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.over = False

    def lines(self, message: Message) -> list[LineOut]:
        """Return the lines that a message brings and that are new."""
        if message.event == "end":
            self.over = True
        if message.event != "job.log":
            return []
        told = msgspec.json.decode(message.data, type=LogLinesOut)
        return [line for line in told.lines if self.takes(line.n)]


def stands_still(job: JobOut) -> bool:
    """Tell whether a job says nothing more: it has ended, and no worker is at its last batch."""
    return job.state in _ENDS and not job.workers


def fits(event: EventOut, patterns: str | Iterable[str] | None) -> bool:
    """Tell whether an event is one of those meant by names and patterns such as ``job.*``."""
    if patterns is None:
        return True
    asked = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(event.name, word.strip()) for one in asked for word in one.split(","))
