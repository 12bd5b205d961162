"""Events: one row per change, written in the same transaction as the change."""

from collections.abc import Collection, Mapping
from contextvars import ContextVar
from datetime import datetime
from enum import StrEnum, auto
from functools import cache
from typing import Annotated, Self

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.fields import HIDDEN

SCHEDULER, JANITOR, SENDER = "scheduler", "janitor", "webhooks"
"""The actors of changes to schedules, by retention, and after deliveries, that no user makes."""

UNKNOWN = "unknown"
"""The actor of an event about a credential that belongs to no user."""

RESERVED_ACTORS = frozenset({SCHEDULER, JANITOR, SENDER, UNKNOWN})
"""Ids that no user may have. The actors of workers have a colon, which no id has."""


class EventName(StrEnum):
    """All event names; this list is closed. The part before the dot is the kind of subject."""

    CREATED = "job.created", "a job was submitted"
    STARTED = "job.started", "a worker claimed the job"
    PROGRESSED = "job.progressed", "a quarter, half or three quarters of the job is done"
    LIMIT_REACHED = "job.limit_reached", "a limit was reached; `job.completed` follows"
    REQUEUED = "job.requeued", "the job was queued again: an attempt failed or its worker stopped"
    HURRIED = "job.hurried", "an operator ended the wait for the next attempt or the start time"
    WORKER_LOST = "job.worker_lost", "the worker died and the job was queued again"
    PAUSED = "job.paused", "the job was paused, by a user or because the disk is full"
    EXPIRING = "job.expiring", "the job has been paused for long and will be cancelled"
    RESUMED = "job.resumed", "the job was queued to continue where it stopped"
    RETRIED = "job.retried", "the failed URLs of the job were queued again"
    COMPLETED = "job.completed", "no URL is left to fetch, or a limit was reached"
    FAILED = "job.failed", "the job failed; `reason` says why"
    CANCELLED = "job.cancelled", "a user cancelled the job, or it was paused for too long"
    EDITED = "job.edited", "the spec was changed; `changed` has the fields and their new values"
    DELETED = "job.deleted", "the job and its pages were deleted"
    NOTED = "job.noted", "a notice about the crawl was added"

    GROUP_COMPLETED = (
        "group.completed",
        "all jobs of the group have ended",
    )

    RUN_CHANGED = "run.changed", "a run of a schedule has other pages than the previous run"
    PAGE_CHANGED = "page.changed", "pages changed in a run of a schedule: one event for all"

    TEMPLATE_CREATED = "template.created", "a template was created"
    TEMPLATE_UPDATED = "template.updated", "the template has a new version"
    TEMPLATE_DELETED = "template.deleted", "the template was deleted"

    SCHEDULE_CREATED = "schedule.created", "a schedule was created"
    SCHEDULE_UPDATED = "schedule.updated", "the schedule was changed"
    SCHEDULE_TICKED = "schedule.ticked", "the schedule was due; `outcome` says what was done"
    SCHEDULE_PAUSED = "schedule.paused", "the schedule was paused, by a user or after failures"
    SCHEDULE_RESUMED = "schedule.resumed", "the schedule was resumed"
    SCHEDULE_ENDED = "schedule.ended", "the schedule has no further run"
    SCHEDULE_DELETED = "schedule.deleted", "the schedule was deleted"

    WEBHOOK_CREATED = "webhook.created", "a webhook was created"
    WEBHOOK_UPDATED = "webhook.updated", "the webhook was changed"
    WEBHOOK_DISABLED = "webhook.disabled", "the webhook was disabled: 410, or too many failures"
    WEBHOOK_DELETED = "webhook.deleted", "the webhook was deleted"
    WEBHOOK_TEST = "webhook.test", "a user requested a test delivery"

    SESSION_CREATED = "session.created", "a login session was created"
    SESSION_RENEWED = "session.renewed", "a new login gave the session a new version"
    SESSION_DELETED = "session.deleted", "the login session was deleted"

    USER_CREATED = "user.created", "a user was created"
    USER_UPDATED = "user.updated", "the role or quota of the user was changed, or the user disabled"
    USER_SIGNED_IN = "user.signed_in", "a browser signed in with a token or a sign-in link"
    USER_REFUSED = "user.refused", "a credential was refused; `reason` says why"

    TOKEN_CREATED = "token.created", "a token was created"
    TOKEN_REVOKED = "token.revoked", "the token was revoked, with the sessions opened by it"

    WORKER_QUIETED = "worker.quieted", "the worker claims no more jobs and finishes its own"
    WORKER_RESUMED = "worker.resumed", "the worker claims jobs again"
    WORKER_STOPPING = "worker.stopping", "the worker releases its jobs and stops"

    HOST_UPDATED = "host.updated", "the delay, the concurrency or the note of a host was set"
    HOST_PAUSED = "host.paused", "no request is sent to the host until it is resumed"
    HOST_RESUMED = "host.resumed", "requests are sent to the host again"
    HOST_BLOCKED = "host.blocked", "no request is sent to the host: its URLs are skipped"
    HOST_UNSET = "host.unset", "the rules for the host were removed"

    SETTINGS_UPDATED = "settings.updated", "an admin changed a section of the settings"

    summary: str

    def __new__(cls, value: str, summary: str = "") -> Self:
        """Create a member from its name on the wire and a one-line summary."""
        member = str.__new__(cls, value)
        member._value_, member.summary = value, summary
        return member

    @property
    def kind(self) -> str:
        """Kind of its subject, such as ``job``."""
        return self.value.partition(".")[0]


request_address: ContextVar[str] = ContextVar("request_address", default="")
"""IP address of the client whose request is being answered; empty: there is no request."""


OF_JOBS = frozenset({"job", "run", "page"})
"""Kinds of events whose subject is a job."""


_PAGES = {"template": "templates", "schedule": "schedules"}


class Event(Struct, frozen=True, kw_only=True):
    """One change; *data* contains only JSON values."""

    seq: int = 0  # assigned by the store, in commit order; 0 until then
    name: EventName
    subject: str  # id of its subject; for a host or a settings section, its name
    owner: str  # owner of the subject; if it has none, the actor
    at: datetime
    actor: str  # a user's id, or "worker:…", "scheduler", "janitor", "webhooks"
    data: Mapping[str, object] = field(default_factory=dict)
    # of the user who caused it; None: no user did
    address: Annotated[str | None, HIDDEN] = field(default_factory=request_address.get)

    @property
    def job_id(self) -> str | None:
        """Id of the job that it is about; ``None`` if it is about something else."""
        return self.subject if self.name.kind in OF_JOBS else None

    @property
    def page(self) -> str | None:
        """Path of its subject in the dashboard; ``None`` if that has no page."""
        folder = "jobs" if self.name.kind in OF_JOBS else _PAGES.get(self.name.kind)
        if folder is None or self.name.value.endswith(".deleted"):
            return None
        return f"/{folder}/{self.subject}"


# --- events of other users

SHOWN_TO_OTHERS = frozenset(
    {
        *("state", "reason", "version", "name", "schedule_id", "job_id", "percent", "done"),
        *("discovered", "limit", "attempt", "due_at", "outcome"),
    }
)
"""Fields of the data of events that users get who do not own the subject.

The other fields may have credentials, names of sessions, or URLs of pages.
"""


def event_for_others(event: Event) -> Event:
    """Return an event as users get it who do not own its subject."""
    return replace(event, data={n: v for n, v in event.data.items() if n in SHOWN_TO_OTHERS})


# --- topics of streams: groups of events, and the permits to receive them


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
        """Events that belong to this topic."""
        return frozenset(name for name in EventName if TOPIC_OF[name.kind] is self)


TOPIC_OF: Mapping[str, Topic] = {
    topic.value if topic is Topic.SETTINGS else topic.value.removesuffix("s"): topic
    for topic in Topic
} | {"run": Topic.SCHEDULES, "page": Topic.SCHEDULES, "group": Topic.JOBS}
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
