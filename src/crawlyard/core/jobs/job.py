"""Jobs: one crawl, its progress, the moves of its lifecycle, and the actions on it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum, auto

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.sharing import Sharing
from crawlyard.core.access.user import Grant
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.lifecycle import ENDED, LIFECYCLE, Move, State, StateReason, after
from crawlyard.core.jobs.limits import Limits, Usage, breach
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.retry import RetryReason
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.core.jobs.spread import Budget
from crawlyard.core.webhooks.webhook import Secret, Webhook
from crawlyard.errors import IllegalMove

ISOLATED_FROM = 2
"""Losses from which a job runs in a child process of its own. A single loss isolates no job: most
workers are killed from outside, and all their jobs continue at once in a running process."""

LOSSES_KEPT = ISOLATED_FROM - 1
"""Losses that remain after a stored page: the page that kills its worker may be one of the next."""

DEATHS_ALLOWED = 3
"""Consecutive deaths of its child process, without a page, after which a job fails."""

EVENT_OF: Mapping[Move, EventName] = {
    Move.CLAIM: EventName.STARTED,
    Move.COMPLETE: EventName.COMPLETED,
    Move.FAIL: EventName.FAILED,
    Move.REQUEUE: EventName.REQUEUED,
    Move.PAUSE: EventName.PAUSED,
    Move.RESUME: EventName.RESUMED,
    Move.CANCEL: EventName.CANCELLED,
    Move.RETRY_FAILED: EventName.RETRIED,
    Move.RETRY_NOW: EventName.HURRIED,
}
"""The event for each move; a lost worker has an event of its own."""


class Source(StrEnum):
    """Origins of a job, in one word."""

    DIRECT = auto()  # someone submitted a spec of their own
    TEMPLATE = auto()
    SCHEDULE = auto()
    RETRY = auto()  # of another job


class Origin(Struct, frozen=True, kw_only=True):
    """Origin of a job; empty if a user submitted the spec directly."""

    template_id: str | None = None
    template_version: int | None = None
    schedule_id: str | None = None
    tick_at: datetime | None = None  # the planned time of the schedule's run
    group_id: str | None = None  # shared by jobs that were submitted together
    given: tuple[str, ...] = ()  # fields of the spec with which this job overrides its template


DIRECT = Origin()


class Job(Struct, frozen=True, kw_only=True):
    """One crawl. It changes only by moves and edits; each increments *version*.

    What changes during the crawl (usage, lease, current URL) is in its `Shard`.
    """

    id: str
    owner: str
    spec: JobSpec
    state: State
    state_reason: StateReason
    detail: str = ""  # a sentence that explains the reason
    version: int = 1
    created_at: datetime
    updated_at: datetime  # of the last move or edit
    since: datetime  # when it entered its state
    queued_at: datetime  # its place in the queue; kept by resume, retry wait, preemption and loss
    due_at: datetime
    started_at: datetime | None = None  # the first claim
    ended_at: datetime | None = None
    turn: int = 0  # set by the store: its owner's turn in its level
    aged: int = 0  # levels gained by waiting long
    failures: int = 0  # failed attempts, counted against the retry budget
    losses: int = 0  # workers that died running it, up to `ISOLATED_FROM`, and then its children
    retry_of: str | None = None
    origin: Origin = DIRECT
    by_grant: tuple[Grant, ...] = ()  # grants that its spec depends on, which may be withdrawn
    damaged: str = ""  # which part of its row is unreadable; its spec then has the readable rest

    def __eq__(self, other: object) -> bool:
        """Return whether all fields but the turn are equal; the turn belongs to the store."""
        return isinstance(other, Job) and Struct.__eq__(self, replace(other, turn=self.turn))

    def __hash__(self) -> int:
        return hash((self.id, self.version))

    @property
    def priority(self) -> Priority:
        """Priority as submitted; a waiting job may rise above it."""
        return self.spec.priority

    @property
    def level(self) -> Priority:
        """Its queue level: its priority, raised if it has aged."""
        return Priority.from_rank(self.priority.rank + self.aged) if self.aged else self.priority

    @property
    def limits(self) -> Limits:
        """Limits in force, within the ceilings."""
        return self.spec.limits

    @property
    def isolated(self) -> bool:
        """True if it must run alone in a child process, because workers died running it."""
        return self.losses >= ISOLATED_FROM

    @property
    def source(self) -> Source:
        """Its origin in one word."""
        if self.retry_of is not None:
            return Source.RETRY
        if self.origin.schedule_id is not None:
            return Source.SCHEDULE
        return Source.DIRECT if self.origin.template_id is None else Source.TEMPLATE

    def webhooks(self) -> list[Webhook]:
        """The webhooks in its spec, each with an id derived from the job's."""
        everywhere = ("0.0.0.0/0", "::/0") if self.spec.allow_private else ()
        return [
            Webhook(
                id=f"{self.id}:{number}",
                owner=self.owner,
                url=webhook.url,
                format=webhook.format,
                events=webhook.events,
                secrets=(Secret(value=webhook.secret),),
                allow_addresses=self.spec.allow_addresses + everywhere,
                by_grant=tuple(g for g in self.by_grant if g is not Grant.IGNORE_ROBOTS),
                job_id=self.id,
                group_id=self.origin.group_id,
                metadata=webhook.metadata,
                headers=webhook.headers,
                page_cursor=0 if webhook.pages else None,
                created_at=self.created_at,
                updated_at=self.created_at,
            )
            for number, webhook in enumerate(self.spec.webhooks)
        ]

    def waits_at(self, now: datetime) -> bool:
        """Return whether it is pending and not due yet at *now*."""
        return self.state is State.PENDING and self.due_at > now

    @staticmethod
    def new(
        job_id: str,
        owner: str,
        spec: JobSpec,
        now: datetime,
        *,
        due_at: datetime | None = None,
        origin: Origin = DIRECT,
        by_grant: tuple[Grant, ...] = (),
        actor: str | None = None,
    ) -> "tuple[Job, Event]":
        """Return a pending job and its creation event; *actor* defaults to the owner."""
        due = max(now, due_at or now)
        job = Job(
            id=job_id,
            owner=owner,
            spec=spec,
            state=State.PENDING,
            state_reason=StateReason.SCHEDULED if due > now else StateReason.WAITING_SLOT,
            created_at=now,
            updated_at=now,
            since=now,
            queued_at=now,
            due_at=due,
            origin=origin,
            by_grant=by_grant,
        )
        session = {"session": spec.session} if spec.session else {}
        return job, job.event(EventName.CREATED, now, actor or owner, **session)

    def apply_move(
        self,
        move: Move,
        now: datetime,
        *,
        actor: str,
        reason: StateReason | None = None,
        detail: str = "",
        due_at: datetime | None = None,
    ) -> "tuple[Job, Event]":
        """Return the job after *move*, and the event for it.

        Raises:
            IllegalMove: its state does not allow the move.
        """
        state = after(self.state, move)
        afresh = move in (Move.RESUME, Move.RETRY_FAILED)
        job = replace(
            self,
            state=state,
            state_reason=reason or _REASON_OF[state],
            detail=detail,
            version=self.version + 1,
            updated_at=now,
            since=self.since if state is self.state else now,
            due_at=due_at or now if state is State.PENDING else self.due_at,
            started_at=self.started_at or (now if move is Move.CLAIM else None),
            ended_at=now if state.ended else None,
            aged=self.aged if state in (self.state, State.RUNNING) else 0,
            failures=0 if afresh else self.failures + (move is Move.FAIL),
        )
        lost = move is Move.REQUEUE and reason is StateReason.WORKER_LOST
        name = EventName.WORKER_LOST if lost else EVENT_OF[move]
        return job, job.event(name, now, actor)

    def fail_attempt(
        self, now: datetime, due_at: datetime, *, actor: str, detail: str
    ) -> "tuple[Job, Event]":
        """Return the job waiting until *due_at* for its next attempt, with one more failure."""
        job, event = self.apply_move(
            Move.REQUEUE,
            now,
            actor=actor,
            reason=StateReason.WAITING_RETRY,
            detail=detail,
            due_at=due_at,
        )
        event_data = {**event.data, "attempt": self.failures + 1, "due_at": due_at.isoformat()}
        return replace(job, failures=self.failures + 1), replace(event, data=event_data)

    def yield_slot(self, now: datetime, *, actor: str) -> "tuple[Job, Event]":
        """Return the job queued again because a more urgent one takes its slot."""
        detail = "a more urgent job took its slot"
        reason = StateReason.PREEMPTED
        return self.apply_move(Move.REQUEUE, now, actor=actor, reason=reason, detail=detail)

    def requeue_for_quota(self, now: datetime, *, actor: str, part: str) -> "tuple[Job, Event]":
        """Return the job queued again because that *part* of its owner's quota is used up."""
        detail = f"quota.{part} of {self.owner} is used up until midnight (UTC)"
        reason = StateReason.WAITING_QUOTA
        return self.apply_move(Move.REQUEUE, now, actor=actor, reason=reason, detail=detail)

    def retry_wait(self, reason: RetryReason, chance: float) -> timedelta | None:
        """Return how long to wait if the current attempt fails; ``None`` if it was the last one.

        *chance* is a random number from 0 to 1, drawn by the caller; 0 gives the longest wait.
        """
        policy = self.spec.retry
        return policy.wait(self.failures + 1, chance) if reason in policy.reasons else None

    def lose_worker(
        self, now: datetime, *, actor: str, in_child: bool, chance: float = 0
    ) -> "tuple[Job, Event]":
        """Return the job after its worker died: queued again in its old place, or failed.

        The death of a worker that also ran other jobs may not be this job's fault. From the
        second on, it runs alone in a child process, and only deaths there are counted further.
        After too many deaths, the attempt has failed; the next one runs alone from the start.
        """
        move, died = Move.REQUEUE, "its worker died"
        losses = max(self.losses, min(self.losses + 1, ISOLATED_FROM))
        if in_child:
            losses = max(self.losses, ISOLATED_FROM) + 1
            deaths = losses - ISOLATED_FROM
            died = f"its child process died, {deaths} in a row"
            if deaths >= DEATHS_ALLOWED:
                wait = self.retry_wait(RetryReason.WORKER_LOST, chance)
                if wait is not None:
                    job, event = self.fail_attempt(now, now + wait, actor=actor, detail=died)
                    return replace(job, losses=ISOLATED_FROM), event
                move = Move.FAIL
        job, event = self.apply_move(
            move, now, actor=actor, reason=StateReason.WORKER_LOST, detail=died
        )
        return replace(job, losses=losses), event

    def edit(
        self, spec: JobSpec, now: datetime, *, actor: str, changed: Mapping[str, object]
    ) -> "tuple[Job, Event]":
        """Return the job with a new spec; *changed* maps the changed fields to their new values.

        Raises:
            IllegalMove: it has been cancelled.
        """
        if self.state is State.CANCELLED:
            message = "cannot change a job that is cancelled; resume it first"
            raise IllegalMove(message, allowed=tuple(LIFECYCLE[self.state]))
        aged = self.aged if spec.priority is self.priority else 0
        job = replace(self, spec=spec, aged=aged, version=self.version + 1, updated_at=now)
        hides = spec.shared is Sharing.PRIVATE and self.spec.shared is not Sharing.PRIVATE
        more = {"private": True} if hides else {}
        return job, job.event(EventName.EDITED, now, actor, changed=dict(changed), **more)

    def event(self, name: EventName, now: datetime, actor: str, /, **data: object) -> Event:
        """Return an event about this job in its current state, with *data* added."""
        event_data: dict[str, object] = {
            "state": self.state.value,
            "reason": self.state_reason.value,
            "detail": self.detail,
            "version": self.version,
            "name": self.spec.name,
        }
        if self.origin.schedule_id is not None:
            event_data["schedule_id"] = self.origin.schedule_id
        if self.origin.group_id is not None:
            event_data["group_id"] = self.origin.group_id
        if name is EventName.DELETED:  # read when there is no job to ask any more
            event_data["private"] = bool(self.damaged) or self.spec.shared is Sharing.PRIVATE
        if self.spec.notify:
            event_data["notify"] = list(self.spec.notify)
        return Event(
            name=name,
            subject=self.id,
            owner=self.owner,
            at=now,
            actor=actor,
            data=event_data | data,
        )


def damage_of(job: Job) -> str:
    """Return a sentence that says which part of a damaged job is unreadable, and what to do."""
    return f"damaged: its row cannot be read ({job.damaged}); it can only be deleted"


class Shard(Struct, frozen=True, kw_only=True):
    """The part of a job that changes at every checkpoint.

    Every job has shard 0, which holds its total usage. A job that is spread over several workers
    also has shards from 1 on, which are leased instead of shard 0.
    """

    worker: str | None = None  # the lease holder; None: not leased
    attempt: int = 0  # incremented at every claim: the fencing token
    lease_until: datetime | None = None
    seq: int = 0  # incremented at every checkpoint
    usage: Usage = field(default_factory=Usage)
    pulse: Pulse = field(default_factory=Pulse)
    current_url: str = ""
    updated_at: datetime | None = None  # of the last checkpoint
    budget: Budget = field(default_factory=dict)  # the part of its job's limits that it may use
    deaths: int = 0  # losses, as `Job.losses`, of workers that ran it
    freed_at: datetime | None = None  # since when it is free, or its holder must release it
    asked_by: str | None = None  # the worker with free slots for which its holder releases it

    @property
    def yields(self) -> bool:
        """True if its holder is releasing it but must still store what is in flight."""
        return self.worker is not None and self.freed_at is not None


class Standing(Struct, frozen=True, kw_only=True):
    """A job and its current progress."""

    job: Job
    shard: Shard
    sharers: int = 0  # workers that hold a shard of it, if it is spread

    @property
    def workers(self) -> int:
        """Number of workers that run it, or a part of it."""
        return self.sharers + (self.shard.worker is not None)

    @property
    def changed_at(self) -> datetime:
        """When the job or its progress was last written."""
        return max(self.job.updated_at, self.shard.updated_at or self.job.updated_at)


_REASON_OF: Mapping[State, StateReason] = {
    State.PENDING: StateReason.WAITING_SLOT,
    State.RUNNING: StateReason.CRAWLING,
    State.PAUSED: StateReason.BY_USER,
    State.COMPLETED: StateReason.EXHAUSTED,
    State.FAILED: StateReason.INTERNAL_ERROR,
    State.CANCELLED: StateReason.BY_USER,
}


class JobVerb(StrEnum):
    """Actions of the API on jobs, by the words in its paths and methods."""

    PAUSE = auto()
    RESUME = auto()
    CANCEL = auto()
    RETRY = auto()  # as a new job, its failed URLs, or at once if it waits
    EDIT = auto()
    DELETE = auto()


DELETABLE = ENDED | {State.PAUSED}

_OF_MOVE: Mapping[str, JobVerb] = {
    Move.PAUSE: JobVerb.PAUSE,
    Move.RESUME: JobVerb.RESUME,
    Move.CANCEL: JobVerb.CANCEL,
    Move.RETRY_FAILED: JobVerb.RETRY,
    Move.RETRY_NOW: JobVerb.RETRY,
}


def actions_of(allowed: Sequence[str]) -> list[str]:
    """Return the API actions for these moves, in order; a word that is not a move is kept."""
    named = (_OF_MOVE.get(word, "" if word in set(Move) else word) for word in allowed)
    return list(dict.fromkeys(str(verb) for verb in named if verb))


_VERBS: Mapping[State, frozenset[str]] = {
    state: frozenset(actions_of(tuple(moves))) for state, moves in LIFECYCLE.items()
}


def has_rest(usage: Usage) -> bool:
    """Return whether any URL is left to fetch."""
    # a job that ended before its first request has discovered nothing, and everything is left
    return not usage.discovered or bool(usage.waiting)


def actions_on(job: Job, usage: Usage) -> tuple[str, ...]:
    """Return the actions possible on a job with this usage, in the order of `JobVerb`."""
    verbs = set(_VERBS[job.state])
    if job.damaged:
        end = JobVerb.CANCEL if job.state is State.RUNNING else JobVerb.DELETE
        return (str(end),)
    if job.state in ENDED and not (has_rest(usage) and breach(job.limits, usage) is None):
        verbs.discard(JobVerb.RESUME)
    if job.state is not State.CANCELLED:
        verbs.add(JobVerb.EDIT)
    if job.state in DELETABLE:
        verbs.add(JobVerb.DELETE)
    return tuple(str(action) for action in JobVerb if action in verbs)
