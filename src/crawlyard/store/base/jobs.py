"""What is asked of a store about jobs, from their queue to their pages."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.checkpoint import (
    Asker,
    Batch,
    Checkpoint,
    Claim,
    Lease,
    Order,
    Standing,
)
from crawlyard.core.event import Event, EventName
from crawlyard.core.filter import Condition, FilterKey
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.page import (
    Body,
    ErrorGroup,
    ErrorKind,
    RuleKind,
    SkippedGroup,
    SkippedURL,
    StoredPage,
    Target,
)
from crawlyard.core.priority import Priority

COUNTED_TO = 10_000
"""Number of jobs at which a count stops that has to read them."""

_KEPT = frozenset({FilterKey.OWNER, FilterKey.STATE, FilterKey.PRIORITY, FilterKey.PRIORITY_GTE})


class JobQuery(Struct, frozen=True, kw_only=True):
    """Which jobs; an empty field asks nothing."""

    owner: str | None = None
    states: frozenset[State] = frozenset()
    priorities: frozenset[Priority] = frozenset()
    tags: frozenset[str] = frozenset()  # all of them
    text: str = ""  # a part of the name or of a start URL, whatever its case
    id_part: str = ""  # the beginning or the end of an id
    template_id: str | None = None  # made from this template
    schedule_id: str | None = None  # submitted by this schedule
    where: tuple[Condition, ...] = ()  # all of them, as `core.filter.fits` says
    before: str | None = None  # ids below this one: the last of the page before
    after: str | None = None  # ids above this one
    oldest_first: bool = False

    @property
    def counts_are_kept(self) -> bool:
        """Whether it asks for owners, states and priorities alone: such counts are kept ready."""
        none: frozenset[Any] = frozenset()
        kept = {"owner": None, "states": none, "priorities": none, "where": ()}
        rest = replace(self, **kept, oldest_first=False)
        return rest == EVERY_JOB and all(one.key in _KEPT for one in self.where)

    @property
    def counted_to(self) -> int | None:
        """Bound of a count for people to look at; ``None``: the count is kept, and exact."""
        return None if self.counts_are_kept else COUNTED_TO


EVERY_JOB = JobQuery()


class PageQuery(Struct, frozen=True, kw_only=True):
    """Which page records of a job; an empty field asks nothing."""

    failed: bool | None = None  # True: with an error; False: without
    needs_scripts: bool | None = None
    kinds: frozenset[ErrorKind] = frozenset()
    text: str = ""  # a part of the URL or title, whatever its case
    statuses: frozenset[int] = frozenset()  # of HTTP: 404, or by their class: 4 is 400 to 499
    content_types: frozenset[str] = frozenset()  # text/html, whatever its parameters, or text/*
    depths: frozenset[int] = frozenset()
    min_depth: int | None = None
    max_depth: int | None = None
    hosts: frozenset[str] = frozenset()  # of the URL; without a port: on any
    after: int = 0  # ids above this one


class JobStore(Protocol):
    """The jobs. A deleted job is gone for every method but `UpkeepStore.purge`."""

    async def add(self, job: Job, event: Event, like: Job | None = None) -> None:
        """Remember a new job, made *like* another one, if one is given.

        Raises:
            Conflict: its id is taken; or the other one has another version by now, or is gone.
        """
        ...

    async def get(self, job_id: str) -> Standing:
        """Return a job and how far it has come.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def save(self, job: Job, *events: Event) -> None:
        """Replace version ``job.version - 1`` of the job and add the events.

        Raises:
            Conflict: the stored version is another, or the job is gone.
        """
        ...

    async def find(self, query: JobQuery, limit: int) -> list[Standing]:
        """Return the jobs that *query* asks for, newest first unless it says so, at most *limit*.

        By their ids: one that is added later is newer.
        """
        ...

    async def counts(
        self, query: JobQuery = EVERY_JOB, most: int | None = None
    ) -> Mapping[tuple[State, Priority], int]:
        """Return how many jobs of *query* are in each state and priority, zeros left out.

        With *most*, a count that has to read jobs stops there: if the sum is *most* or more,
        there may be more in each state and priority.
        """
        ...

    async def retry_failed(self, job: Job, event: Event, kinds: Collection[ErrorKind]) -> int:
        """Save the job and let its failed targets of *kinds* (empty: all) wait again.

        Their page records go, what they used of pages and errors is given back, and
        their tries begin anew. Return how many there were.

        Raises:
            Conflict: as for `save`, or its lease is still held: try again.
        """
        ...

    async def delete(self, job_id: str, version: int, event: Event) -> None:
        """Hide a job at once and for good; `UpkeepStore.purge` frees its space.

        Raises:
            Conflict: the stored version is another.
        """
        ...


class LeaseStore(Protocol):
    """Who crawls what, and until when."""

    async def claim(self, asker: Asker, now: datetime, lease: timedelta) -> Claim | None:
        """Lease the due job with a free lease that `core.queue.claim_key` puts first.

        Of those that *asker* takes, as `core.queue.takes` says. Two callers never get the
        same job. Jobs of a user whose quota is used up are passed over, as
        `core.quota.held_back` says.
        """
        ...

    async def orders(self, leases: Sequence[Lease]) -> list[Order]:
        """Return what each holder is to do, in the order asked; writes nothing."""
        ...

    async def settle(
        self, lease: Lease, job: Job, *events: Event, again: Collection[ErrorKind] = ()
    ) -> None:
        """Save the job as for `JobStore.save` and free the lease, in one transaction.

        Its spec is that of the version before. Its failed targets of the kinds *again*
        (empty: none) wait again, as after `JobStore.retry_failed`.

        Raises:
            Conflict: the lease is another's, or the job's version has moved on.
        """
        ...

    async def free(self, lease: Lease) -> None:
        """Let a lease go; does nothing if it is no longer ours."""
        ...

    async def take_back(
        self,
        now: datetime,
        dead: Collection[str],
        decide: Callable[[Job], tuple[Job, Event]],
    ) -> list[Job]:
        """Free the leases that have lapsed at *now* or belong to *dead* workers.

        Jobs that were running under them are saved as *decide* says, each in its own
        transaction with its event, and returned; jobs in another state just become
        free. Two callers never take the same job back twice.
        """
        ...

    async def holders(self) -> Mapping[str, int]:
        """Return the workers that hold leases, and how many each."""
        ...


class FrontierStore(Protocol):
    """The URLs of a job, and the checkpoints that carry them forward."""

    async def record(
        self, entries: Sequence[tuple[Lease, Batch]], now: datetime, lease: timedelta
    ) -> list[Checkpoint]:
        """Write batches of several jobs in ONE transaction; return an answer to each.

        For each entry: pages kept, targets closed, new ones offered (a known fp is
        left as it is), usage added to the job and to its owner's day, lines added to its
        log, of which the newest `MOST_LINES` are kept, its course replaced, the lease
        renewed until ``now + lease``. The last batch frees it, unless the job still
        runs: then `settle` does. A batch is taken
        while its attempt is the current one, whatever the job's state; otherwise it is
        refused whole and its answer is LOST, without harm to the other entries. A batch
        that was already written (its commit got no answer) is answered without being
        written again.
        A recorded page sets the job's losses to 0.
        """
        ...

    async def load(
        self, job_no: int, limit: int, *, depth_first: bool, without: Collection[str] = ()
    ) -> list[Target]:
        """Return waiting targets in the order of the strategy, at most *limit*.

        Breadth first is by (depth, found first), depth first by (depth, found last)
        with the deepest in front. Hosts in *without* are left out.
        """
        ...

    def known(self, job_no: int) -> AsyncIterator[Sequence[int]]:
        """Yield the fp of every target ever found or skipped, in chunks, in no order."""
        ...

    async def roots(self, job_no: int) -> list[str]:
        """Return the URLs that redirects of seeds led to: the scope takes them as seeds."""
        ...


class PageStore(Protocol):
    """What was fetched."""

    async def pages(self, job_id: str, query: PageQuery, limit: int) -> list[StoredPage]:
        """Return page records in the order they were stored, at most *limit*."""
        ...

    async def bodies(
        self, page_ids: Sequence[int], kinds: Collection[Body]
    ) -> Mapping[tuple[int, Body], bytes]:
        """Return what is kept of these pages, decompressed; what is not kept is left out."""
        ...

    async def errors(self, job_id: str) -> list[ErrorGroup]:
        """Return the failed URLs grouped by kind, the most frequent first."""
        ...

    async def skipped(
        self, job_id: str, after: int, limit: int, kinds: Collection[RuleKind] = ()
    ) -> list[tuple[int, SkippedURL]]:
        """Return URLs that rules of *kinds* (empty: all) kept out with their keys above *after*.

        In the order they were found, at most *limit*.
        """
        ...

    async def skipped_by(self, job_id: str) -> list[SkippedGroup]:
        """Return the URLs that rules kept out by kinds of rules, the most frequent first."""
        ...


class EventQuery(Struct, frozen=True, kw_only=True):
    """Which events; an empty field asks nothing."""

    subject: str | None = None  # the id of what they are about
    owner: str | None = None
    actor: str | None = None  # who did it
    names: frozenset[EventName] = frozenset()
    since: datetime | None = None  # at or after
    before: int | None = None  # a seq below this one
    newest_first: bool = False


EVERY_EVENT = EventQuery()


class EventLog(Protocol):
    """What has happened, in commit order."""

    async def events(
        self, query: EventQuery = EVERY_EVENT, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return events with a seq above *after*, at most *limit*.

        Oldest first, unless the query wants the newest first: then the *limit* newest.
        """
        ...

    async def last(self) -> int:
        """Return the seq of the newest event, 0 when there is none."""
        ...
