"""What is asked of a store, and what it is given: queries and the records beside them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.credential import Credential
from crawlyard.core.access.user import Grants, Quota, User
from crawlyard.core.crawl.page import (
    ErrorKind,
)
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.filter import Condition, FilterKey
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick
from crawlyard.core.webhooks.webhook import Delivery, Webhook
from crawlyard.errors import Conflict, Refused

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


class Proof(Struct, frozen=True, kw_only=True):
    """A credential that was shown, and the user whose it is."""

    credential: Credential
    user: User


class ArchiveQuery(Struct, frozen=True, kw_only=True):
    """Which pages of which jobs; an empty field asks nothing."""

    jobs: JobQuery = field(default_factory=JobQuery)
    job_ids: frozenset[str] = frozenset()
    pages: PageQuery = field(default_factory=PageQuery)
    since: datetime | None = None  # fetched at this instant, or after it
    until: datetime | None = None  # fetched before this instant
    before: int | None = None  # ids below this one

    @property
    def of_all(self) -> bool:
        """Tell whether pages of every job are looked at, whenever they were fetched."""
        return self == ArchiveQuery(pages=self.pages, before=self.before)


class IntakeRules(Struct, frozen=True, kw_only=True):
    """What holds for one more job of a user, as the transaction that writes it sees it."""

    ceilings: Limits  # of the yard, for one job
    grants: Grants
    quota: Quota
    waiting: int = 0  # of his jobs; counted only where his quota says how many may


Judge: TypeAlias = Callable[[IntakeRules], tuple[Job, Event]]
"""Returns a new job and its event, or raises `Refused`. It may be called more than once."""


class Entrant(Struct, frozen=True, kw_only=True):
    """A job that is to be let in."""

    owner: str
    level: Priority  # that it will wait in
    judge: Judge
    like: Job | None = None  # the one that it is made like, which must not have changed
    urls: int = 1  # that it begins with: what it weighs


Entered: TypeAlias = Job | Refused | Conflict
"""A job that is stored, or why it is not."""


def check_like(entrant: Entrant, versions: Mapping[str, int]) -> None:
    """Check that the job that *entrant* is made like is as it was; *versions*: by id, now.

    Raises:
        Conflict: it has another version by now, or is gone.
    """
    like = entrant.like
    if like is not None and versions.get(like.id) != like.version:
        raise Conflict(f"job {like.id} is not at version {like.version} any more")


class ScheduleQuery(Struct, frozen=True, kw_only=True):
    """Which schedules; an empty field asks nothing."""

    owner: str | None = None
    template_id: str | None = None
    paused: bool | None = None
    name: str | None = None  # exactly
    text: str = ""  # a part of the name or description, whatever its case
    after: tuple[str, str] | None = None  # (name, id): behind this one, in the order of `find`


class Firing(Struct, frozen=True, kw_only=True):
    """What is decided about one schedule at one moment: all of it is written, or nothing."""

    after: CrawlSchedule  # as it is from now on: its beat is one more than the stored one's
    ticks: tuple[Tick, ...] = ()  # one of the same instant is replaced; it must have no other job
    jobs: tuple[tuple[Job, Event], ...] = ()  # new ones
    moved: tuple[tuple[Job, Event], ...] = ()  # saved as for `JobStore.save`
    events: tuple[Event, ...] = ()


Carry: TypeAlias = Callable[[Sequence[CrawlSchedule]], Sequence[tuple[CrawlSchedule, Event]]]
"""Of the schedules that it is given, those that a new version of their template changes."""


class TemplateQuery(Struct, frozen=True, kw_only=True):
    """Which templates; an empty field asks nothing."""

    owner: str | None = None
    seen_by: str | None = None  # this user's own, and all that are public
    public: bool | None = None
    name: str | None = None  # exactly
    text: str = ""  # a part of the name or description, whatever its case
    after: tuple[str, str] | None = None  # (name, id): behind this one, in the order of `find`


class WebhookQuery(Struct, frozen=True, kw_only=True):
    """Which webhooks; an empty field asks nothing."""

    owner: str | None = None
    job_id: str | None = None  # those of this job; "" : those of no job
    before: str | None = None  # an id: what is behind it, in the order of `find`
    id_part: str = ""  # the beginning or the end of an id


class Claimed(Struct, frozen=True, kw_only=True):
    """A delivery that is leased, and where it goes."""

    delivery: Delivery
    webhook: Webhook
