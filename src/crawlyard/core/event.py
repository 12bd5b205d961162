"""Events: one row per change, written in the same transaction as the change."""

# ruff: noqa: S105  # event names are not secrets

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum, auto
from functools import cache

from msgspec import Struct, field

from crawlyard.core.access.user import Permit


class EventName(StrEnum):
    """All event names; this list is closed. The part before the dot is the kind of subject."""

    CREATED = "job.created"  # it was submitted
    STARTED = "job.started"  # a worker took it
    PROGRESSED = "job.progressed"  # a quarter, half or three quarters of its way are behind it
    LIMIT_REACHED = "job.limit_reached"  # a limit was used up; job.completed follows
    REQUEUED = "job.requeued"  # it goes on later: a failed attempt, a stopped worker
    HURRIED = "job.hurried"  # an operator ended its wait for its next attempt or its start
    WORKER_LOST = "job.worker_lost"  # its worker died, and it was queued again
    PAUSED = "job.paused"  # an operator holds it, or there is no room for its pages
    EXPIRING = "job.expiring"  # it has been paused for long, and will be cancelled
    RESUMED = "job.resumed"  # it was queued again where it stands
    RETRIED = "job.retried"  # its failed URLs were queued again
    COMPLETED = "job.completed"  # nothing left to fetch, or a limit was reached
    FAILED = "job.failed"  # given up, with the reason
    CANCELLED = "job.cancelled"  # ended by an operator, or paused for too long
    EDITED = "job.edited"  # its spec was changed; `changed` has the fields and their new values
    DELETED = "job.deleted"  # it was deleted with its pages
    NOTED = "job.noted"  # something about the crawl is worth knowing

    RUN_CHANGED = "run.changed"  # a run of a schedule has other pages than the one before it
    PAGE_CHANGED = "page.changed"  # a run of a schedule has changed these pages: one event for all

    TEMPLATE_CREATED = "template.created"
    TEMPLATE_UPDATED = "template.updated"  # there is a new version
    TEMPLATE_DELETED = "template.deleted"

    SCHEDULE_CREATED = "schedule.created"
    SCHEDULE_UPDATED = "schedule.updated"
    SCHEDULE_TICKED = "schedule.ticked"  # an instant had come: `outcome` says what became of it
    SCHEDULE_PAUSED = "schedule.paused"  # by a user, or after failures in a row
    SCHEDULE_RESUMED = "schedule.resumed"
    SCHEDULE_ENDED = "schedule.ended"  # no further instant will come
    SCHEDULE_DELETED = "schedule.deleted"

    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_UPDATED = "webhook.updated"
    WEBHOOK_DISABLED = "webhook.disabled"  # it was switched off: 410, or it kept failing
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_TEST = "webhook.test"  # somebody asked for a test delivery

    SESSION_CREATED = "session.created"
    SESSION_RENEWED = "session.renewed"  # by a new login: there is a new version
    SESSION_DELETED = "session.deleted"

    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"  # his role or quota was changed, or he was disabled

    TOKEN_CREATED = "token.created"
    TOKEN_REVOKED = "token.revoked"  # it and the sessions had by it prove nothing any more

    WORKER_QUIETED = "worker.quieted"  # it claims no more jobs, and goes on with those it has
    WORKER_RESUMED = "worker.resumed"  # it claims jobs again
    WORKER_STOPPING = "worker.stopping"  # it gives its jobs back, and ends

    HOST_UPDATED = "host.updated"  # its delay, its requests at once or its note were set
    HOST_PAUSED = "host.paused"  # nobody asks it until it is resumed
    HOST_RESUMED = "host.resumed"  # it is asked again
    HOST_BLOCKED = "host.blocked"  # nobody asks it: its URLs are skipped
    HOST_UNSET = "host.unset"  # nothing is said of it any more

    SETTINGS_UPDATED = "settings.updated"  # an admin changed a section of them

    @property
    def kind(self) -> str:
        """Return the kind of its subject, such as ``job``."""
        return self.value.partition(".")[0]


OF_JOBS = frozenset({"job", "run", "page"})
"""Kinds of events whose subject is a job."""


_PAGES = {"template": "templates", "schedule": "schedules"}


class Event(Struct, frozen=True, kw_only=True):
    """One change; *data* contains only JSON values."""

    name: EventName
    subject: str  # id of what it is about; for a host or a settings section, its name
    owner: str  # owner of the subject; if it has none, the actor
    at: datetime
    actor: str  # a user's id, or "worker:…", "scheduler", "janitor", "webhooks"
    data: Mapping[str, object] = field(default_factory=dict)
    seq: int = 0  # assigned by the store, in commit order; 0 until then

    @property
    def job_id(self) -> str | None:
        """Return the id of the job that it is about, ``None`` if it is about something else."""
        return self.subject if self.name.kind in OF_JOBS else None

    @property
    def page(self) -> str | None:
        """Path of its subject in the dashboard; ``None`` if that has no page."""
        folder = "jobs" if self.name.kind in OF_JOBS else _PAGES.get(self.name.kind)
        if folder is None or self.name.value.endswith(".deleted"):
            return None
        return f"/{folder}/{self.subject}"


# --- topics of streams: groups of events, and the permits to hear them


class Topic(StrEnum):
    """A kind of resource; for jobs and workers, also their current state."""

    JOBS = auto()
    TEMPLATES = auto()
    SCHEDULES = auto()
    WEBHOOKS = auto()
    SESSIONS = auto()
    WORKERS = auto()
    HOSTS = auto()
    USERS = auto()
    TOKENS = auto()
    SETTINGS = auto()

    @property
    def names(self) -> frozenset[EventName]:
        """Return its events."""
        return frozenset(name for name in EventName if TOPIC_OF[name.kind] is self)


TOPIC_OF: Mapping[str, Topic] = {
    topic.value if topic is Topic.SETTINGS else topic.value.removesuffix("s"): topic
    for topic in Topic
} | {"run": Topic.SCHEDULES, "page": Topic.SCHEDULES}
"""Topics by the kind of an event: ``job`` belongs to `Topic.JOBS`."""

_NEEDS: Mapping[Topic, Permit] = {
    Topic.JOBS: Permit.JOBS_READ,
    Topic.TEMPLATES: Permit.TEMPLATES_READ,
    Topic.SCHEDULES: Permit.SCHEDULES_READ,
    Topic.WEBHOOKS: Permit.WEBHOOKS_READ,
    Topic.SESSIONS: Permit.SESSIONS_READ,
    Topic.WORKERS: Permit.WORKERS_READ,
    Topic.HOSTS: Permit.WORKERS_READ,
    Topic.USERS: Permit.USERS_READ,
    Topic.TOKENS: Permit.TOKENS_READ,
}

_ACCOUNT = frozenset({Topic.USERS, Topic.TOKENS, Topic.SETTINGS})


def topics_for(permits: Collection[Permit], *, limited: bool) -> frozenset[Topic]:
    """Return the topics that a user with *permits* may subscribe to.

    Account topics are not available to a token that is *limited* to some permits, unless it has the
    permit for admins as well.
    """
    topics = frozenset(t for t in Topic if t not in _NEEDS or _NEEDS[t] in permits)
    return topics if not limited or Permit.ADMIN in permits else topics - _ACCOUNT


@cache
def names_of(topics: frozenset[Topic]) -> frozenset[EventName]:
    """Return the events of all these topics, as one shared set for equal topics."""
    return frozenset(name for topic in topics for name in topic.names)
