"""Server-sent events: encoded once, sent to many streams."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import sees_job, shows_pages
from crawlyard.core.access.sharing import Sharing
from crawlyard.core.access.user import Actor
from crawlyard.core.answer import Wire, encode_answer
from crawlyard.core.endpoints.stream_messages import HappenedOut, JobRowOut
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job import EVENT_OF, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.waiting import reason_at
from crawlyard.errors import NotFound
from crawlyard.store.store import Store

RETRY = timedelta(seconds=2)
"""Delay before a browser reconnects."""

_ANOTHER = Actor(id="", sees_shared=True)  # a user who owns nothing
_SHOWN = ("state", "reason", "detail", "version", "name", "schedule_id")  # data for other users
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
        """Encode those *events* of jobs that other users may see, by their `seq`."""
        frames: dict[int, Frame] = {}
        for event in events:
            standing = await self._standing(event.subject)
            if standing is None or not sees_job(_ANOTHER, standing.job):
                continue
            row = (await self._rows([standing]))[standing.job.id]
            row = row.for_others(
                may_change=standing.job.spec.shared is Sharing.WRITE,
                shows_pages=shows_pages(standing.job),
            )
            data = {name: event.data[name] for name in _SHOWN if name in event.data}
            message = HappenedOut.of(replace(event, data=data), row)
            frames[event.seq] = frame(event_word(event.name), message, event.seq)
        return frames

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
