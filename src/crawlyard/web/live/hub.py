"""Hub of all event streams of this server.

Events are read from their table, so that those of other processes are sent as well. While
there is no stream, nothing is read.
"""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any

from crawlyard.about import VERSION
from crawlyard.clock import Clock
from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Actor
from crawlyard.core.endpoints.stream_messages import HelloOut, PingOut, StateCountsOut, WorkersOut
from crawlyard.core.events.event import Event, Topic
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.progress import Progress
from crawlyard.core.workers.answers import WorkerOut
from crawlyard.errors import QuotaExceeded, StoreUnavailable, Unavailable
from crawlyard.messaging.bus import Bus, BusReach
from crawlyard.services.access.credentials import Credentials
from crawlyard.services.jobs.lookup import visible_query
from crawlyard.services.workers.status import Watching
from crawlyard.store.queries import EVERY_JOB, JobQuery
from crawlyard.web.live.catch_up import CatchUp
from crawlyard.web.live.logs import Logs
from crawlyard.web.live.snapshots import Board, ProgressBoard
from crawlyard.web.live.sse import Frame, Teller, beginning, frame
from crawlyard.web.live.stream import Stream, Wish
from crawlyard.web.live.tails import Tails
from crawlyard.yard import Yard

MOST_OF_ONE = 20
"""Streams that one token or session may have open."""

MOST = 1_000
"""Streams of this server."""

HEAR_EVERY = timedelta(milliseconds=100)
"""News are taken from the bus at most this often; the first do not wait."""

LOOK_EVERY = timedelta(milliseconds=200)
"""Between two looks at the events and at the logs that are followed."""

PULSE_EVERY = timedelta(milliseconds=500)
"""Between two messages on the progress of running jobs."""

PING_EVERY = timedelta(seconds=15)

_PORTION = 100  # events at once: fewer than a stream has room for
_PULSES_BEHIND = 4  # while progress comes over the bus, the store is asked this many pulses apart
_PULSES_A_LOOK = 2  # counts and workers are told half as often as progress
_PULSES_A_CHECK = 10  # an end without an event, such as signing out elsewhere, is seen by then
_PINGS_LOOKED_FOR = timedelta(seconds=1)
_MOST_RUNNING = 1_000  # jobs whose progress is told

_log = logging.getLogger(__name__)

_RUNNING = JobQuery(states=frozenset({State.RUNNING}))


class Hub:
    """Opens streams, and sends them what happens."""

    def __init__(self, yard: Yard, access: Credentials, watching: Watching) -> None:
        self._yard = yard
        self._events = yard.store.events
        self._clock = yard.clock
        self._access = access
        self._watching = watching
        self._teller = Teller(yard.store, yard.clock)
        self._past = CatchUp(yard.store.events, self._teller, yard.clock)
        self._logs = Logs(yard.store.journal, yard.clock, PING_EVERY.total_seconds())
        self._streams: set[Stream] = set()
        self._seq = 0  # events up to this one were told
        self._work: asyncio.Task[None] | None = None
        self._relay = _Relay(yard.bus, yard.clock)
        self._progress = ProgressBoard()
        self._counts = Board("counts", Topic.JOBS, self._read_counts)
        self._workers = Board("workers", Topic.WORKERS, self._read_workers)
        self._tails = Tails(yard.store.pages)
        self._seen_workers: Sequence[object] = ()
        self._closed = False
        self._stale = False  # the store is away

    @property
    def closed(self) -> bool:
        """Return whether the server is shutting down."""
        return self._closed

    @property
    def streams(self) -> Collection[Stream]:
        """Return the open streams, in no order."""
        return frozenset(self._streams)

    async def open(self, caller: Caller, wish: Wish) -> Stream:
        """Open a stream for *caller*, until `leave`.

        Raises:
            QuotaExceeded: their credential has as many streams as it may have.
            Unavailable: the server has as many as it may have, or is shutting down.
        """
        self._check_room(caller)
        last = await self._events.last()
        self._check_room(caller)  # others have come meanwhile, perhaps
        if not self._streams:
            self._seq = last
        stream = Stream(caller, wish, max(self._seq, last), self._clock.monotonic())
        if wish.after is None:
            pass
        elif wish.after > last:
            stream.restart(last)
        else:
            # what is between the two comes from the table, what follows from the hub
            stream.replay_to = self._seq
            stream.seen = max(self._seq, wish.after)
        self._streams.add(stream)
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="hub")
        return stream

    def leave(self, stream: Stream) -> None:
        """Remove a stream whose client is gone."""
        stream.end()
        self._streams.discard(stream)
        self._logs.leave(stream)
        if not self._streams:
            self._rest()

    def close(self) -> None:
        """End all streams, and open no more."""
        self._closed = True
        for stream in self._streams:
            stream.end()
        self._rest()

    def drop(self, credential_id: str) -> None:
        """End the streams of a token or session that is no longer valid."""
        for stream in self._streams:
            if stream.caller.credential.id == credential_id:
                stream.end(because_of_auth=True)

    async def messages(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yield the messages of *stream*, from the first to the last, in portions."""
        if stream.wish.log is not None:
            async for portion in self._logs.of(stream, stream.wish.log):
                yield portion
            return
        hello = HelloOut(
            seq=stream.seen,
            server_time=self._clock.now(),
            version=VERSION,
            heartbeat_s=PING_EVERY.total_seconds(),
            progress_hz=1 / HEAR_EVERY.total_seconds(),
        )
        yield beginning(hello).data
        async for portion in self._past.of(stream):
            yield portion
        async for portion in stream.messages():
            yield portion

    def _check_room(self, caller: Caller) -> None:
        if self._closed:
            raise Unavailable("the server is to end: come again")
        if len(self._streams) >= MOST:
            raise Unavailable(f"the server has {MOST:,} streams open, and takes no more")
        own = Counter(stream.caller.credential.id for stream in self._streams)
        if own[caller.credential.id] >= MOST_OF_ONE:
            raise QuotaExceeded("streams", f"expected at most {MOST_OF_ONE} streams at once")

    # --- while there are streams

    def _rest(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._work = None
        self._progress, self._stale = ProgressBoard(), False

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (self._hear, self._follow, self._pulse, self._ping):
                    group.create_task(loop())
        except Exception:  # noqa: BLE001 - whatever it is, clients must come again, not wait
            _log.exception("what tells the streams has failed: all of them end")
            self._work = None
            for stream in self._streams:
                stream.end()

    async def _hear(self) -> None:
        def tell(progress: Mapping[str, Progress]) -> None:
            self._progress.hear(progress, self._streams, self._clock.now())

        await self._relay.hear(tell)

    async def _follow(self) -> None:
        while True:
            self._stale = not await _unless_away(self._look())
            await _unless_away(self._logs.look())
            await self._relay.until_events(LOOK_EVERY)

    async def _look(self) -> None:
        last = await self._events.last()
        if last < self._seq:
            self._seq = last
            for stream in self._streams:
                if stream.wish.log is None:  # it hears no events
                    stream.restart(last)
        while last > self._seq:
            found = await self._events.events(after=self._seq, limit=_PORTION)
            if not found:
                return
            heard = [e for e in found if any(stream.wants(e) for stream in self._streams)]
            messages = await self._teller.told(heard)
            # nothing waits from here on: who comes now, comes before all of it or behind
            self._tell(found, dict(zip((e.seq for e in heard), messages, strict=True)))
            self._seq = found[-1].seq
            await self._recheck(found)
            await asyncio.sleep(0)  # a store in memory never waits, and who listens wants a turn

    def _tell(self, found: Sequence[Event], messages: dict[int, Frame]) -> None:
        for event in found:
            message = messages.get(event.seq)
            if message is not None:
                for stream in self._streams:
                    if stream.wants(event):
                        stream.put(message)
        owners = {event.owner for event in found if event.name.kind == "job"}
        if owners:
            self._counts.stain(*owners)

    async def _recheck(self, found: Sequence[Event]) -> None:
        """End the streams of users who lost their rights by one of these events."""
        users = {event.owner for event in found if event.name.kind in {"token", "user"}}
        await self._check([s for s in self._streams if s.caller.user.id in users])

    async def _pulse(self) -> None:
        for beat in itertools.count(1):
            behind = self._yard.bus.reach is not BusReach.YARD or beat % _PULSES_BEHIND == 0
            await _unless_away(self._stand(look=beat % _PULSES_A_LOOK == 0, behind=behind))
            now, every = self._clock.now(), beat % _PULSES_A_CHECK == 0
            suspects = [s for s in self._streams if every or not s.caller.credential.good(now)]
            await _unless_away(self._check(suspects))
            await self._clock.sleep(PULSE_EVERY)

    async def _check(self, suspects: Collection[Stream]) -> None:
        """End the streams whose credentials are no longer good; each is checked once."""
        proofs = {(s.caller.credential.id, s.caller.user.role): s.caller for s in suspects}
        for (credential, role), caller in proofs.items():
            if not await self._access.still_good(caller):
                for stream in suspects:
                    shown = stream.caller
                    if (shown.credential.id, shown.user.role) == (credential, role):
                        stream.end(because_of_auth=True)

    async def _stand(self, *, look: bool, behind: bool) -> None:
        """Send the current state: all of it to fresh streams, what has changed to the others.

        Without *behind*, progress is read only if a stream is fresh or a job is new.
        """
        streams = list(self._streams)
        fresh = {stream for stream in streams if stream.fresh}
        for stream in fresh:
            stream.fresh = False  # until it loses something again
        try:
            if look and any(map(self._workers.is_for, streams)):
                await self._look_at_workers()
            for board in (self._counts, self._workers):
                await board.tell(streams, fresh, look=look)
            if behind or fresh or self._progress.wants_a_look:
                running = await self._running(streams)
                self._progress.tell(running, streams, fresh, self._clock.now())
            await self._tails.tell(streams, fresh)
        except StoreUnavailable:
            for stream in fresh:
                stream.fresh = True
            raise

    async def _running(self, streams: Collection[Stream]) -> Sequence[Standing]:
        """Return the running jobs, if a stream wants to know."""
        if not any(Topic.JOBS in stream.wish.topics for stream in streams):
            return ()
        return await self._yard.store.jobs.find(_RUNNING, _MOST_RUNNING)

    async def _look_at_workers(self) -> None:
        reports = await self._yard.store.workers.find()
        state = self._watching.state
        seen = [(r.id, state(r), r.quiet, r.stopping, r.slots, r.running) for r in reports]
        if seen != self._seen_workers:
            self._seen_workers = seen
            self._workers.stain()

    async def _read_counts(self, actor: Actor) -> StateCountsOut:
        counted: Counter[str] = Counter()
        query = await visible_query(self._yard.store, actor, EVERY_JOB)
        for (state, _), count in (await self._yard.store.jobs.counts(query)).items():
            counted[state.value] += count
        return StateCountsOut(**counted)

    async def _read_workers(self, actor: Actor) -> WorkersOut:
        found = await self._watching.workers(actor)
        alive = self._watching.is_alive
        return WorkersOut(workers=[WorkerOut.of(report, alive=alive(report)) for report in found])

    async def _ping(self) -> None:
        told = False
        while True:
            await self._clock.sleep(_PINGS_LOOKED_FOR)
            now, before, told = self._clock.monotonic(), told, self._stale
            soonest = 0.0 if told is not before else PING_EVERY.total_seconds()
            message = frame("ping", PingOut(at=self._clock.now(), stale=told))
            for stream in [s for s in self._streams if now - s.beat_at >= soonest]:
                stream.beat_at = now
                stream.put(message)


class _Relay:
    """Takes news from the bus, ahead of the next look at the store."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._prompt = asyncio.Event()

    async def hear(self, tell: Callable[[Mapping[str, Progress]], None]) -> None:
        """Pass the progress of jobs, by id, to *tell* as it arrives, until cancelled."""
        with self._bus.listen() as ear:
            while True:
                await ear.news()
                progress, happened = ear.take()
                if progress:
                    tell(progress)
                if happened:
                    self._prompt.set()
                await self._clock.sleep(HEAR_EVERY)

    async def until_events(self, at_most: timedelta) -> None:
        """Return when the bus says that events were stored, or after *at_most*."""
        waits = (
            asyncio.ensure_future(self._clock.sleep(at_most)),
            asyncio.ensure_future(self._prompt.wait()),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._prompt.clear()


async def _unless_away(work: Coroutine[Any, Any, None]) -> bool:
    """Do *work*, and return true; if the store is away, leave it to the next time."""
    try:
        await work
    except StoreUnavailable as error:
        _log.warning("the store is away, streams wait: %s", error)
        return False
    return True
