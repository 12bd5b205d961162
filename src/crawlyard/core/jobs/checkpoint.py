"""Checkpoints: the batches a crawl writes to its store, and the orders it gets back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum, auto

from msgspec import Struct, field

from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.page import Outcome, Skipped, Target
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Job, Shard
from crawlyard.core.jobs.job_log import Course, LogLine
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.pulse import Pulse, Workload
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.jobs.spread import Share, Starts


class Asker(Struct, frozen=True):
    """A worker that requests a job, and the jobs that it accepts."""

    worker: str
    tags: frozenset[str] = frozenset()  # its own; a job may require some of them
    least: Priority = Priority.LOW  # the lowest level that it accepts
    only: str | None = None  # the id of the only job that it accepts


class Lease(Struct, frozen=True, kw_only=True):
    """The right to run a job, until it expires or a later attempt begins.

    *seq* is the number of the last checkpoint written under it. It identifies a batch that is
    recorded again because its commit got no answer.
    """

    job_id: str
    job_no: int  # the store's short key of the job
    worker: str
    attempt: int
    seq: int
    version: int  # of the job, as the holder knows it
    shard: int = 0  # 0: the whole job
    of: int = 0  # number of shards of the job
    starts: Starts = ()  # its hosts that have buckets in turn


class Claim(Struct, frozen=True, kw_only=True):
    """A job that was just leased, with everything needed to continue it."""

    lease: Lease
    job: Job
    shard: Shard  # always shard 0, whichever was leased: usage of the whole job
    share: Share | None = None  # for the holder of a shard only


class Preemption(Struct, frozen=True, kw_only=True):
    """A claimed urgent job, and the low-priority job that gave up its slot."""

    claim: Claim
    yielded: Job
    shard: int = 0  # the one given up, while others continue; 0: the whole job is queued again


class Batch(Struct, frozen=True, kw_only=True):
    """Results of a crawl since its last batch; an empty batch is a heartbeat."""

    found: tuple[Target, ...] = ()  # new and in scope; may already have outcomes below
    skipped: tuple[Skipped, ...] = ()  # new, and excluded by a rule
    outcomes: tuple[Outcome, ...] = ()
    usage: Usage = field(default_factory=Usage)  # added to the stored usage
    workload: Workload = field(default_factory=Workload)
    pulse: Pulse = field(default_factory=Pulse)
    current_url: str = ""
    notes: tuple[Mapping[str, object], ...] = ()  # notices from the engine about the crawl
    events: tuple[Event, ...] = ()  # written in the same transaction
    log: tuple[LogLine, ...] = ()  # oldest first; numbered by the store
    course: Course | None = None  # replaces the stored one; None: unchanged
    lastmods: Mapping[str, LastmodRecord] = field(default_factory=dict)  # by host; replaces stored
    cookies: Mapping[str, bytes] = field(default_factory=dict)  # by key, sealed; empty: ended
    last: bool = False  # no more batches follow: the lease may be released

    @property
    def pages(self) -> int:
        """Number of targets in the batch that have a page record."""
        return sum(1 for o in self.outcomes if o.page is not None)


class Order(StrEnum):
    """Instructions from the store to the lease holder."""

    GO_ON = auto()
    CHANGED = auto()  # the spec was edited: `Checkpoint.job` has it
    STOP = auto()  # the job is no longer running: finish what is in flight and release the lease
    LOST = auto()  # the lease was revoked, or a later attempt holds the job: stop at once


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The answer to a recorded batch."""

    order: Order
    lease: Lease  # the lease to use from now on
    usage: Usage  # total of the job
    job: Job | None = None  # if the order is CHANGED or STOP
    share: Share | None = None  # for the holder of a shard only
    milestone: int = 0  # the last one of the job that was announced


class Booking(Struct, frozen=True, kw_only=True):
    """A request for a window: requests to *host* may be sent for *for_s* seconds from its start.

    They are at least *every_s* apart, and so is the next window from its end. The last window of
    the process ends at *last*; what it did not use is free from *free_at* on, unless another
    process has booked the host since.
    """

    host: str
    every_s: float
    for_s: float = 0.0
    last: datetime | None = None
    free_at: datetime | None = None

    def until(self, start: datetime) -> datetime:
        """Return when the host is free for others if the window begins at *start*."""
        return start + timedelta(seconds=self.for_s + self.every_s)
