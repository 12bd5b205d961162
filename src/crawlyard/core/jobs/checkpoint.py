"""What passes between a crawl and its store: batches one way, orders the other."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, auto

from msgspec import Struct, field

from crawlyard.core.crawl.page import Outcome, Skipped, Target
from crawlyard.core.event import Event
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.pulse import Pulse, Workload
from crawlyard.core.jobs.spread import Budget, Share
from crawlyard.core.watch import Course, LogLine


class Shard(Struct, frozen=True, kw_only=True):
    """What of a job changes at every checkpoint.

    A job has one, 0, with all that it has used. One that is spread has others, from 1
    on, that are leased instead of it.
    """

    worker: str | None = None  # who holds the lease; None: it is free
    attempt: int = 0  # rises with every claim: the fence
    lease_until: datetime | None = None
    seq: int = 0  # rises with every checkpoint
    usage: Usage = field(default_factory=Usage)
    pulse: Pulse = field(default_factory=Pulse)
    current_url: str = ""
    updated_at: datetime | None = None  # of the last checkpoint
    budget: Budget = field(default_factory=dict)  # what it may use of its job's limits
    deaths: int = 0  # workers that died of it, in a row and without a page
    freed_at: datetime | None = None  # since when nobody has it, or its holder is to let go

    @property
    def yields(self) -> bool:
        """Tell whether its holder has given it up, and has still to store what is in flight."""
        return self.worker is not None and self.freed_at is not None


class Standing(Struct, frozen=True, kw_only=True):
    """A job and how far it has come."""

    job: Job
    shard: Shard
    sharers: int = 0  # workers that have a shard of it, if it is spread

    @property
    def workers(self) -> int:
        """Return how many workers have it, or a part of it."""
        return self.sharers + (self.shard.worker is not None)


class Asker(Struct, frozen=True):
    """A worker that asks for a job, and which of them it takes."""

    worker: str
    tags: frozenset[str] = frozenset()  # its own: a job may need some of them
    least: Priority = Priority.LOW  # the lowest level that it takes
    only: str | None = None  # the id of the one job that it takes


class Lease(Struct, frozen=True, kw_only=True):
    """The right to crawl a job, until it lapses or a later attempt begins.

    *seq* is that of the last checkpoint written under it: a batch that is recorded
    again, since its commit got no answer, is recognised by it.
    """

    job_id: str
    job_no: int  # the store's own short key of the job
    worker: str
    attempt: int
    seq: int
    version: int  # of the job, as the holder knows it
    shard: int = 0  # 0: the whole job
    of: int = 0  # into how many it is cut


class Claim(Struct, frozen=True, kw_only=True):
    """A job that was just leased: all that is needed to go on where it stands."""

    lease: Lease
    job: Job
    shard: Shard  # 0, whichever was leased: what the whole job has used
    share: Share | None = None  # of who has but a part of it


class Preemption(Struct, frozen=True, kw_only=True):
    """An urgent job that was claimed, and the low one that made room for it."""

    claim: Claim
    yielded: Job
    shard: int = 0  # of it that was given up, while others go on; 0: all of it waits again


class Batch(Struct, frozen=True, kw_only=True):
    """What a crawl has done since its last batch; empty is a heartbeat."""

    found: tuple[Target, ...] = ()  # new and in scope; outcomes may already speak of them
    skipped: tuple[Skipped, ...] = ()  # new and kept out
    outcomes: tuple[Outcome, ...] = ()
    usage: Usage = field(default_factory=Usage)  # to be added to what is stored
    workload: Workload = field(default_factory=Workload)
    pulse: Pulse = field(default_factory=Pulse)
    current_url: str = ""
    notes: tuple[Mapping[str, object], ...] = ()  # what the engine has to say about the crawl
    events: tuple[Event, ...] = ()  # written with the batch
    log: tuple[LogLine, ...] = ()  # the oldest first; the store numbers them
    course: Course | None = None  # in place of the one before; None: unchanged
    last: bool = False  # nothing more comes: the lease may be freed

    @property
    def pages(self) -> int:
        """Return how many targets of the batch got a page record."""
        return sum(1 for o in self.outcomes if o.page is not None)


class Order(StrEnum):
    """What the store tells the holder of a lease."""

    GO_ON = auto()
    CHANGED = auto()  # the spec was edited: `Checkpoint.job` has it
    STOP = auto()  # the job is no longer running: finish what is in flight and let go
    LOST = auto()  # the lease was taken back, or a later attempt holds the job: let go at once


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The answer to a recorded batch."""

    order: Order
    lease: Lease  # to be used from now on
    usage: Usage  # of the job, all told
    job: Job | None = None  # where the order is CHANGED or STOP
    share: Share | None = None  # of who has but a part of it


class Booking(Struct, frozen=True, kw_only=True):
    """A wish for *count* requests to *host*, *every* apart.

    A process that has booked the host until *last* may have used less of that, or sent a request
    late. If no other has booked it since, it is free from *free_at* on.
    """

    host: str
    every_s: float
    count: int = 1
    last: datetime | None = None
    free_at: datetime | None = None
