"""What the dictionaries hold: jobs with all that belongs to them, templates, users, events."""

import json
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime
from itertools import islice
from operator import attrgetter, itemgetter

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.checkpoint import Lease, Shard
from crawlyard.core.credential import Credential
from crawlyard.core.desk import Section
from crawlyard.core.event import Event
from crawlyard.core.host_rule import HostRule
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.limits import Usage, given_back
from crawlyard.core.page import Body, ErrorKind, Page, StoredPage, Target, TargetState
from crawlyard.core.queue import Line, turn_of_new, turn_of_returned
from crawlyard.core.schedule import CrawlSchedule, Tick
from crawlyard.core.template import CrawlTemplate
from crawlyard.core.user import LOCAL, NO_DATE, User
from crawlyard.core.watch import Course, LogLine
from crawlyard.core.webhook import webhooks_of
from crawlyard.errors import Conflict
from crawlyard.store.leasing import held
from crawlyard.store.memory.post import Endpoint, Post
from crawlyard.store.text import scrubbed


class Known(Struct):
    """A target that was ever found or skipped."""

    id: int
    target: Target
    state: TargetState = TargetState.WAITING
    rule: str = ""


class Record(Struct):
    """A job with all that belongs to it."""

    no: int
    job: Job
    shard: Shard = field(default_factory=Shard)
    parts: dict[int, Shard] = field(default_factory=dict)  # if it is spread, from 1 on
    of: int = 0  # how many of these are in use
    deleted: bool = False
    frontier: dict[int, Known] = field(default_factory=dict)  # by fp
    pages: dict[int, StoredPage] = field(default_factory=dict)  # by fp
    came: list[tuple[int, int]] = field(default_factory=list)  # pages by id, with fp; some are gone
    bodies: dict[tuple[int, Body], bytes] = field(default_factory=dict)  # by page id
    log: dict[int, LogLine] = field(default_factory=dict)  # by n
    last_line: int = 0
    course: Course = field(default_factory=Course)

    def held(self, now: datetime) -> bool:
        """Tell whether a lease on it or on a part of it keeps others out."""
        return any(held(shard, now) for shard in (self.shard, *self.parts.values()))

    def kept_by(self, worker: str) -> bool:
        """Tell whether *worker* has it, or a part of it that it has not given up."""
        shards = (self.shard, *self.parts.values())
        return any(shard.worker == worker and not shard.yields for shard in shards)

    def leased(self, lease: Lease) -> Shard | None:
        """Return the shard that *lease* is of, ``None`` if there is none."""
        return self.parts.get(lease.shard) if lease.shard else self.shard

    def lease(self) -> Lease:
        """Return the lease that is on the job now."""
        shard = self.shard
        return Lease(
            job_id=self.job.id,
            job_no=self.no,
            worker=shard.worker or "",
            attempt=shard.attempt,
            seq=shard.seq,
            version=self.job.version,
        )

    def reopen(self, kinds: Collection[ErrorKind]) -> int:
        """Let failed targets of *kinds* (empty: all) wait again; return how many."""
        failed = {
            fp: stored
            for fp, stored in self.pages.items()
            if stored.page.error is not None and (not kinds or stored.page.error in kinds)
        }
        for fp, stored in failed.items():
            known = self.frontier[fp]
            known.target = replace(known.target, tries=0, due_at=None)
            known.state, known.rule = TargetState.WAITING, ""
            del self.pages[fp]
            for kind in Body:
                self.bodies.pop((stored.id, kind), None)
        usage = given_back(
            self.shard.usage,
            targets=len(failed),
            pages=sum(s.page.status is not None for s in failed.values()),
            errors=len(failed),
        )
        self.shard = replace(self.shard, usage=usage)
        return len(failed)

    def listed(self, fp: int) -> StoredPage:
        """Return a page with the URL of the page that named it."""
        stored, parent = self.pages[fp], self.frontier[fp].target.parent
        named_by = self.frontier.get(parent) if parent is not None else None
        url = named_by.target.url if named_by else None
        page = Page(parent=url, **dict(zip(_COPIED, _copied(stored.page), strict=True)))
        return StoredPage(id=stored.id, page=page)

    def keep(self, fp: int, stored: StoredPage) -> None:
        """Add the page of a target."""
        self.pages[fp] = stored
        self.came.append((stored.id, fp))

    def pages_after(self, key: int) -> Iterator[tuple[int, StoredPage]]:
        """Yield the pages whose keys are above *key*, in their order, with their targets' fp."""
        first = bisect_right(self.came, key, key=itemgetter(0))
        for page_id, fp in islice(self.came, first, None):
            stored = self.pages.get(fp)
            if stored is not None and stored.id == page_id:
                yield fp, stored


# `replace` takes three times as long, and every page of an export is made anew
_COPIED = tuple(n for n in Page.__struct_fields__ if n != "parent")
_copied = attrgetter(*_COPIED)


def _local_user() -> dict[str, User]:
    """Return the user that the first migration makes."""
    local = User(id=LOCAL.id, role=LOCAL.role, created_at=NO_DATE, updated_at=NO_DATE)
    return {local.id: local}


class Shelf(Struct):
    """All jobs, also the deleted ones that `purge` has yet to free, and all else that is kept."""

    records: dict[str, Record] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    ticks: dict[str, dict[datetime, Tick]] = field(default_factory=dict)  # by schedule
    post: Post = field(default_factory=Post)
    templates: dict[str, list[CrawlTemplate]] = field(default_factory=dict)  # versions, by id
    schedules: dict[str, CrawlSchedule] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=_local_user)
    credentials: dict[str, Credential] = field(default_factory=dict)
    days: dict[tuple[str, date], Usage] = field(default_factory=dict)  # by owner
    host_rules: dict[str, HostRule] = field(default_factory=dict)
    sections: dict[str, Section] = field(default_factory=dict)  # of the settings
    opened: Callable[[], None] | None = None  # told when a shard waits for somebody
    last_job: int = 0
    last_event: int = 0
    last_row: int = 0  # of targets and pages alike

    def there(self) -> Iterator[Record]:
        """Yield the jobs that are not deleted, the oldest first."""
        return (r for r in self.records.values() if not r.deleted)

    def find(self, job_id: str) -> Record | None:
        """Return a job by its id, unless it is deleted."""
        record = self.records.get(job_id)
        return None if record is None or record.deleted else record

    def of_no(self, job_no: int) -> Record | None:
        """Return a job by its short key, unless it is deleted."""
        return next((r for r in self.there() if r.no == job_no), None)

    def add(self, job: Job) -> None:
        """Add a new job with its webhooks."""
        if job.id in self.records:
            raise Conflict(f"there is a job {job.id} already")
        self.last_job += 1
        placed = replace(job, turn=turn_of_new(self.line(job)))
        self.records[job.id] = Record(no=self.last_job, job=scrubbed(placed))
        for webhook in webhooks_of(job):
            self.post.endpoints[webhook.id] = Endpoint(scrubbed(webhook), since_seq=0)

    def changed(self, job: Job, *events: Event) -> Record:
        """Replace the job's version before this one, and return its record."""
        record = self.find(job.id)
        if record is None or record.job.version != job.version - 1:
            raise Conflict(f"job {job.id} is not at version {job.version - 1} any more")
        record.job = scrubbed(self._back_in_line(job, record.job))
        self.tell(*events)
        return record

    def line(self, job: Job) -> Line:
        """Return how far the turns of the level have come that *job* comes into."""
        here = [r.job for r in self.there() if r.job.level is job.level]
        waiting = [other for other in here if other.state is State.PENDING]
        running = (other.turn for other in here if other.state is State.RUNNING)
        own = (other.turn for other in waiting if other.owner == job.owner)
        return Line(
            head=min((other.turn for other in waiting), default=None),
            served=max(running, default=None),
            last=max(own, default=None),
        )

    def _back_in_line(self, job: Job, before: Job) -> Job:
        if job.state is not State.PENDING:
            return job
        if before.state is State.PENDING and before.level is job.level:
            return job
        new, line = before.state.ended or before.state is State.PENDING, self.line(job)
        return replace(job, turn=turn_of_new(line) if new else turn_of_returned(job.turn, line))

    def tell(self, *events: Event) -> None:
        """Add events."""
        for event in events:
            # through JSON, as in a database: tuples come back as lists
            told = scrubbed(event)
            data = json.loads(json.dumps(told.data))
            self.last_event += 1
            self.events.append(replace(told, data=data, seq=self.last_event))

    def next_row(self) -> int:
        """Return a key that rises with every target and page."""
        self.last_row += 1
        return self.last_row
