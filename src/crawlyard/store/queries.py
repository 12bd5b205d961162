"""Queries of the store, and the records that its methods take and return."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.credential import Credential
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor, Grants, Quota, Role, User
from crawlyard.core.crawl.changes import ChangeKind
from crawlyard.core.crawl.page import (
    ErrorKind,
)
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.filter import Condition, FilterKey
from crawlyard.core.jobs.job import Job, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.outcome import STOPPED
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick
from crawlyard.core.webhooks.webhook import Delivery, Webhook
from crawlyard.errors import Conflict, Refused

COUNTED_TO = 10_000
"""Number of jobs at which a count stops if it has to read them."""

_KEPT = frozenset({FilterKey.OWNER, FilterKey.STATE, FilterKey.PRIORITY, FilterKey.PRIORITY_GTE})


def _is_counted(condition: Condition) -> bool:
    """Return whether the maintained counts are split by what a condition filters."""
    return condition.key in _KEPT and not (
        condition.key is FilterKey.STATE and STOPPED in condition.words
    )


class JobQuery(Struct, frozen=True, kw_only=True):
    """Filter of jobs; an empty field does not filter."""

    owner: str | None = None
    seen_by: str | None = None  # this user's own jobs, and those that show *part* to others
    part: JobPart = JobPart.STATE
    states: frozenset[State] = frozenset()
    priorities: frozenset[Priority] = frozenset()
    tags: frozenset[str] = frozenset()  # all of them
    text: str = ""  # a part of the name or of a start URL, case-insensitive
    id_part: str = ""  # the beginning or the end of an id
    template_id: str | None = None  # made from this template
    schedule_id: str | None = None  # submitted by this schedule
    where: tuple[Condition, ...] = ()  # all of them, as in `core.jobs.filter.fits`
    before: str | None = None  # ids below this one: the last id of the previous page
    after: str | None = None  # ids above this one
    oldest_first: bool = False

    @property
    def counts_are_kept(self) -> bool:
        """True if it filters by owner, state and priority alone: those counts are maintained."""
        none: frozenset[Any] = frozenset()
        maintained = {
            "owner": None,
            "seen_by": None,
            "states": none,
            "priorities": none,
            "where": (),
        }
        rest = replace(self, **maintained, oldest_first=False)
        return rest == EVERY_JOB and all(map(_is_counted, self.where))

    @property
    def counted_to(self) -> int | None:
        """Upper bound of a displayed count; ``None``: the count is maintained, and exact."""
        return None if self.counts_are_kept else COUNTED_TO


EVERY_JOB = JobQuery()


class PageQuery(Struct, frozen=True, kw_only=True):
    """Filter of the page records of a job; an empty field does not filter."""

    failed: bool | None = None  # True: with an error; False: without
    needs_scripts: bool | None = None
    kinds: frozenset[ErrorKind] = frozenset()
    text: str = ""  # a part of the URL or title, case-insensitive
    page: tuple[int, str] | None = None  # the one page of this fp, or found under this URL
    statuses: frozenset[int] = frozenset()  # HTTP: 404, or a whole class: 4 is 400 to 499
    content_types: frozenset[str] = frozenset()  # text/html, parameters ignored, or text/*
    depths: frozenset[int] = frozenset()
    min_depth: int | None = None
    max_depth: int | None = None
    hosts: frozenset[str] = frozenset()  # of the URL; without a port: any port
    links_to: int | None = None  # fp of a target that they link to
    under: str = ""  # prefix of the URL after its scheme: docs.example.org/guide/
    after: int = 0  # ids above this one


class ChangeQuery(Struct, frozen=True, kw_only=True):
    """Filter of the changes of runs; an empty field does not filter."""

    schedule_id: str | None = None
    job_id: str | None = None  # the later of the two runs
    owner: str | None = None
    seen_by: str | None = None  # this user's own runs, and those that show pages to others
    kinds: frozenset[ChangeKind] = frozenset()
    after: int = 0  # a seq above this one
    newest_first: bool = False


class EventQuery(Struct, frozen=True, kw_only=True):
    """Filter of events; an empty field does not filter."""

    subject: str | None = None  # the id of the object they are about
    owner: str | None = None
    seen_by: str | None = None  # of this user, and of jobs and schedules that others show them
    actor: str | None = None  # the user or part of Crawlyard that caused it
    names: frozenset[EventName] = frozenset()
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before
    before: int | None = None  # a seq below this one
    newest_first: bool = False


EVERY_EVENT = EventQuery()


Q = TypeVar("Q", ChangeQuery, EventQuery)


def visible_to(actor: Actor, query: Q) -> Q:
    """Return *query* narrowed to what the actor may see."""
    if actor.role is Role.ADMIN:
        return query
    if actor.sees_shared:
        return replace(query, seen_by=actor.id)
    return replace(query, owner=actor.id)


class Proof(Struct, frozen=True, kw_only=True):
    """A presented credential, and the user it belongs to."""

    credential: Credential
    user: User
    sees_shared: bool  # by the settings of the same moment


class ArchiveQuery(Struct, frozen=True, kw_only=True):
    """Filter of pages across jobs; an empty field does not filter."""

    jobs: JobQuery = field(default_factory=JobQuery)
    job_ids: frozenset[str] = frozenset()
    pages: PageQuery = field(default_factory=PageQuery)
    since: datetime | None = None  # fetched at or after this instant
    until: datetime | None = None  # fetched before this instant
    before: int | None = None  # ids below this one

    @property
    def of_all(self) -> bool:
        """True if it covers the pages of all jobs, regardless of when they were fetched."""
        return self == ArchiveQuery(pages=self.pages, before=self.before)


class IntakeRules(Struct, frozen=True, kw_only=True):
    """Rules for one more job of a user, as seen by the transaction that writes it."""

    ceilings: Limits  # of the instance, for one job
    grants: Grants
    quota: Quota
    waiting: int = 0  # the user's pending jobs; counted only if their quota limits them


Judge: TypeAlias = Callable[[IntakeRules], tuple[Job, Event]]
"""Returns a new job and its event, or raises `Refused`. It may be called more than once."""


class Entrant(Struct, frozen=True, kw_only=True):
    """A job to be submitted."""

    owner: str
    level: Priority  # the priority it will be queued with
    judge: Judge
    like: Job | None = None  # the job that it copies, which must not have changed
    urls: int = 1  # the number of start URLs: its weight in a batch
    unique_key: str | None = None


Entered: TypeAlias = Job | Refused | Conflict
"""The stored job, or the reason why it was not stored."""


Verdict: TypeAlias = Callable[[Standing], tuple[Job, Event] | None]
"""Returns the changed job and the event; ``None`` leaves it as it is. It may raise
`Refused`. It may be called more than once."""


class Judged(Struct, frozen=True, kw_only=True):
    """A job that a `Verdict` was applied to."""

    job: Job  # after the verdict
    refused: Refused | None = None  # why it was left as it is


class ScheduleQuery(Struct, frozen=True, kw_only=True):
    """Filter of schedules; an empty field does not filter."""

    owner: str | None = None
    seen_by: str | None = None  # this user's own schedules, and those that are not private
    template_id: str | None = None
    paused: bool | None = None
    name: str | None = None  # exactly
    text: str = ""  # a part of the name or description, case-insensitive
    after: tuple[str, str] | None = None  # (name, id): after this one, in the order of `find`


class Firing(Struct, frozen=True, kw_only=True):
    """Decisions about one schedule at one moment, written all or nothing."""

    after: CrawlSchedule  # its new state: its beat is the stored beat plus one
    ticks: tuple[Tick, ...] = ()  # replace those of the same instant, which must have no other job
    jobs: tuple[tuple[Job, Event], ...] = ()  # new ones
    moved: tuple[tuple[Job, Event], ...] = ()  # saved as by `JobStore.save`
    events: tuple[Event, ...] = ()


Carry: TypeAlias = Callable[[Sequence[CrawlSchedule]], Sequence[tuple[CrawlSchedule, Event]]]
"""Returns the schedules that a new version of their template changes, in their changed form."""


class TemplateQuery(Struct, frozen=True, kw_only=True):
    """Filter of templates; an empty field does not filter."""

    owner: str | None = None
    seen_by: str | None = None  # this user's own, and all public ones
    public: bool | None = None
    name: str | None = None  # exactly
    text: str = ""  # a part of the name or description, case-insensitive
    after: tuple[str, str] | None = None  # (name, id): after this one, in the order of `find`


class WebhookQuery(Struct, frozen=True, kw_only=True):
    """Filter of webhooks; an empty field does not filter."""

    owner: str | None = None
    job_id: str | None = None  # webhooks of this job; "": of no job
    channels: bool | None = None  # True: for people; False: for programs
    name: str | None = None  # of a channel
    before: str | None = None  # an id: webhooks after it in the order of `find`
    id_part: str = ""  # the beginning or the end of an id


class Claimed(Struct, frozen=True, kw_only=True):
    """A leased delivery, and the webhook it goes to."""

    delivery: Delivery
    webhook: Webhook
    more: tuple[Delivery, ...] = ()  # of a channel: those that are sent in the same message

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """All deliveries of the message, oldest first."""
        return tuple(sorted((self.delivery, *self.more), key=lambda each: each.no))
