"""Server-sent events: encoded once, sent to many streams."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart, shows_others
from crawlyard.core.access.sharing import Sharing
from crawlyard.core.answer import Wire, encode_answer
from crawlyard.core.endpoints.stream_messages import HappenedOut, JobRowOut
from crawlyard.core.events.event import Event, EventName, event_for_others
from crawlyard.core.jobs.job import EVENT_OF, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.waiting import reason_at
from crawlyard.errors import NotFound
from crawlyard.store.store import Store

RETRY = timedelta(seconds=2)
"""Delay before a browser reconnects."""

_MOVES = frozenset(EVENT_OF.values()) | {EventName.WORKER_LOST}


class Frame(Struct, frozen=True):
    """A message; durable if it has a *seq*, which a reconnecting client sends back."""

    data: bytes
    seq: int | None = None

    @property
    def durable(self) -> bool:
        """True if it must not be dropped silently."""
        return self.seq is not None


def frame(event: str, shape: Wire, seq: int | None = None) -> Frame:
    """Encode a message; JSON has no line breaks, so one line of data is enough."""
    number = "" if seq is None else f"id: {seq}\n"
    return Frame(
        b"%bevent: %b\ndata: %b\n\n" % (number.encode(), event.encode(), encode_answer(shape)), seq
    )


def first_frame(shape: Wire) -> Frame:
    """Encode the first message of a stream, with the delay before reconnecting."""
    hello = frame("hello", shape)
    return Frame(f"retry: {round(RETRY.total_seconds() * 1000)}\n".encode() + hello.data)


def event_word(name: EventName) -> str:
    """Return the event type for browsers: one of four for jobs, otherwise the event's name."""
    if name.kind != "job" or name in {EventName.CREATED, EventName.DELETED}:
        return name.value
    return "job.state" if name in _MOVES else "job.updated"


def _has_vanished(event: Event) -> bool:
    """Return whether other users saw the job until this event, which deletes or hides it."""
    private = event.data.get("private")
    if event.name is EventName.DELETED:
        return private is False
    return event.name is EventName.EDITED and private is True


class EventEncoder:
    """Encodes events, with the rows of their jobs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def encode(self, events: list[Event]) -> list[Frame]:
        """Encode *events*; each job is read once."""
        subjects = {event.subject for event in events if event.name.kind == "job"}
        standings = [await self._standing(job_id) for job_id in sorted(subjects)]
        rows = await self._rows([standing for standing in standings if standing is not None])
        return [
            frame(event_word(e.name), HappenedOut.of(e, rows.get(e.subject)), e.seq) for e in events
        ]

    async def encode_for_others(self, events: list[Event]) -> Mapping[int, Frame]:
        """Encode those *events* of jobs and schedules that other users may see, by their `seq`.

        To them, a job that becomes private is deleted.
        """
        frames: dict[int, Frame] = {}
        for event in events:
            if event.name.kind == "schedule":
                if await self._is_shared_schedule(event.subject):
                    message = HappenedOut.of(event_for_others(event), None)
                    frames[event.seq] = frame(event_word(event.name), message, event.seq)
                continue
            standing = await self._standing(event.subject)
            if standing is None or not shows_others(standing.job, JobPart.STATE):
                if _has_vanished(event):
                    message = HappenedOut.of(replace(event, name=EventName.DELETED, data={}), None)
                    frames[event.seq] = frame(EventName.DELETED, message, event.seq)
                continue
            row = (await self._rows([standing]))[standing.job.id]
            row = row.for_others(
                may_change=standing.job.spec.shared is Sharing.WRITE,
                shows_pages=shows_others(standing.job, JobPart.PAGES),
            )
            message = HappenedOut.of(event_for_others(event), row)
            frames[event.seq] = frame(event_word(event.name), message, event.seq)
        return frames

    async def _is_shared_schedule(self, schedule_id: str) -> bool:
        try:
            schedule = await self._store.schedules.get(schedule_id)
        except NotFound:
            return False
        return schedule.shared is not Sharing.PRIVATE

    async def _standing(self, job_id: str) -> Standing | None:
        try:
            return await self._store.jobs.get(job_id)
        except NotFound:
            return None

    async def _rows(self, standings: Sequence[Standing]) -> Mapping[str, JobRowOut]:
        """Return the rows of jobs by id; the quotas of waiting jobs are read once."""
        now = self._clock.now()
        waiting = any(s.job.state is State.PENDING for s in standings)
        quotas = await self._store.positions.find_held_owners(now) if waiting else {}
        return {
            standing.job.id: JobRowOut.of(
                standing,
                progress_of_standing(standing),
                reason_at(standing.job, now, quotas.get(standing.job.owner)),
            )
            for standing in standings
        }
