"""Hub of all event streams of this server.

Events are read from their table, so that those of other processes are sent as well. Without
open streams, nothing is read.
"""

import asyncio
import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any

from crawlyard.about import VERSION
from crawlyard.clock import Clock
from crawlyard.core.access.credential import Caller
from crawlyard.core.access.job_parts import JobPart, sees_job
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.endpoints.stream_messages import HelloOut, PingOut, StateCountsOut, WorkersOut
from crawlyard.core.events.event import Event, EventName, Topic
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.progress import Progress
from crawlyard.core.workers.answers import WorkerOut
from crawlyard.errors import NotFound, QuotaExceeded, StoreUnavailable, Unavailable
from crawlyard.messaging.bus import Bus, BusReach
from crawlyard.services.access.credentials import Credentials
from crawlyard.services.jobs.lookup import visible_query
from crawlyard.services.workers.status import Watching
from crawlyard.store.queries import EVERY_JOB, JobQuery
from crawlyard.web.live.catch_up import CatchUp
from crawlyard.web.live.logs import LogStreams
from crawlyard.web.live.snapshots import Board, ProgressBoard
from crawlyard.web.live.sse import EventEncoder, Frame, first_frame, frame
from crawlyard.web.live.stream import Stream, Subscription
from crawlyard.web.live.tails import LatestPages
from crawlyard.yard import Yard

MAX_STREAMS_EACH = 20
"""Limit of open streams per token or session."""

MAX_STREAMS = 1_000
"""Limit of open streams of this server."""

RELAY_EVERY = timedelta(milliseconds=100)
"""Shortest interval between reads of the bus; the first is immediate."""

POLL_EVERY = timedelta(milliseconds=200)
"""Interval of polls of events and followed logs."""

SNAPSHOT_EVERY = timedelta(milliseconds=500)
"""Interval of progress messages of running jobs."""

PING_EVERY = timedelta(seconds=15)

_BATCH = 100  # events per read: fewer than the queue of a stream holds
# while the bus delivers progress, the store is read only every fourth tick
_TICKS_PER_PROGRESS_READ = 4
_TICKS_PER_POLL = 2  # counts and workers are sent half as often as progress
_TICKS_PER_CHECK = 10  # detects ends without an event, such as a sign-out elsewhere
_PING_CHECK_EVERY = timedelta(seconds=1)
_MAX_RUNNING = 1_000  # jobs with progress messages

_log = logging.getLogger(__name__)

_RUNNING = JobQuery(states=frozenset({State.RUNNING}))


class Hub:
    """Opens streams, and publishes events, logs and snapshots to them."""

    def __init__(self, yard: Yard, access: Credentials, watching: Watching) -> None:
        self._yard = yard
        self._events = yard.store.events
        self._clock = yard.clock
        self._access = access
        self._watching = watching
        self._encoder = EventEncoder(yard.store, yard.clock)
        self._catch_up = CatchUp(yard.store.events, self._encoder, yard.clock)
        self._logs = LogStreams(yard.store.journal, yard.clock, PING_EVERY.total_seconds())
        self._streams: set[Stream] = set()
        self._seq = 0  # events up to this one were sent
        self._task: asyncio.Task[None] | None = None
        self._relay = _Relay(yard.bus, yard.clock)
        self._progress = ProgressBoard()
        self._counts = Board("counts", Topic.JOBS, self._read_counts)
        self._workers = Board("workers", Topic.WORKERS, self._read_workers)
        self._latest_pages = LatestPages(yard.store.pages)
        self._worker_states: Sequence[object] = ()
        self._closed = False
        self._stale = False  # the store is unavailable

    @property
    def closed(self) -> bool:
        """True while the server shuts down."""
        return self._closed

    @property
    def streams(self) -> Collection[Stream]:
        """Open streams, in no order."""
        return frozenset(self._streams)

    async def open(self, caller: Caller, subscription: Subscription) -> Stream:
        """Open a stream for *caller*, until `leave`.

        Raises:
            QuotaExceeded: the credential is at its limit of streams.
            Unavailable: the server is at its limit of streams, or is shutting down.
        """
        self._check_limits(caller)
        last = await self._events.last()
        self._check_limits(caller)  # more may have been opened meanwhile
        if not self._streams:
            self._seq = last
        stream = Stream(caller, subscription, max(self._seq, last), self._clock.monotonic())
        if subscription.after is None:
            pass
        elif subscription.after > last:
            stream.restart(last)
        else:
            # events in between come from the table, later ones from the hub
            stream.replay_to = self._seq
            stream.last_seq = max(self._seq, subscription.after)
        self._streams.add(stream)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="hub")
        return stream

    def leave(self, stream: Stream) -> None:
        """Remove a stream whose client has disconnected."""
        stream.end()
        self._streams.discard(stream)
        self._logs.leave(stream)
        if not self._streams:
            self._stop_loops()

    def close(self) -> None:
        """End all streams and refuse new ones."""
        self._closed = True
        for stream in self._streams:
            stream.end()
        self._stop_loops()

    def drop(self, credential_id: str) -> None:
        """End the streams of a token or session that is no longer valid."""
        for stream in self._streams:
            if stream.caller.credential.id == credential_id:
                stream.end(because_of_auth=True)

    async def messages(self, stream: Stream) -> AsyncIterator[bytes]:
        """Yield the messages of *stream* in batches."""
        if stream.subscription.log is not None:
            async for portion in self._logs.messages(stream, stream.subscription.log):
                yield portion
            return
        hello = HelloOut(
            seq=stream.last_seq,
            server_time=self._clock.now(),
            version=VERSION,
            heartbeat_s=PING_EVERY.total_seconds(),
            progress_hz=1 / RELAY_EVERY.total_seconds(),
        )
        yield first_frame(hello).data
        async for portion in self._catch_up.replay(stream):
            yield portion
        async for portion in stream.messages():
            yield portion

    def _check_limits(self, caller: Caller) -> None:
        if self._closed:
            raise Unavailable("the server is shutting down; reconnect")
        if len(self._streams) >= MAX_STREAMS:
            raise Unavailable(f"too many open streams (limit {MAX_STREAMS:,}); retry later")
        own = Counter(stream.caller.credential.id for stream in self._streams)
        if own[caller.credential.id] >= MAX_STREAMS_EACH:
            raise QuotaExceeded("streams", f"expected at most {MAX_STREAMS_EACH} streams at once")

    # --- loops while streams are open

    def _stop_loops(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._progress, self._stale = ProgressBoard(), False

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (
                    self._relay_progress,
                    self._poll,
                    self._send_snapshots,
                    self._send_pings,
                ):
                    group.create_task(loop())
        except Exception:  # noqa: BLE001 - after any error, clients must reconnect, not wait
            _log.exception("stream loop failed; closing all streams")
            self._task = None
            for stream in self._streams:
                stream.end()

    async def _relay_progress(self) -> None:
        def publish(progress: Mapping[str, Progress]) -> None:
            self._progress.relay(progress, self._streams, self._clock.now())

        await self._relay.run(publish)

    async def _poll(self) -> None:
        while True:
            self._stale = not await _while_available(self._poll_events())
            await _while_available(self._logs.poll())
            await self._relay.until_events(POLL_EVERY)

    async def _poll_events(self) -> None:
        last = await self._events.last()
        if last < self._seq:
            self._seq = last
            for stream in self._streams:
                if stream.subscription.log is None:  # log streams get no events
                    stream.restart(last)
        while last > self._seq:
            events = await self._events.events(after=self._seq, limit=_BATCH)
            if not events:
                return
            streams = self._streams
            wanted_events = [e for e in events if any(stream.wants(e) for stream in streams)]
            messages = await self._encoder.encode(wanted_events)
            shared = await self._encoder.encode_for_others(
                [e for e in events if any(stream.wants_of_others(e) for stream in streams)]
            )
            # no await from here on: a new stream opens before all of these events or after
            own = dict(zip((e.seq for e in wanted_events), messages, strict=True))
            self._dispatch(events, own, shared)
            self._seq = events[-1].seq
            await self._recheck(events)
            await asyncio.sleep(0)  # an in-memory store never waits; let the streams send

    def _dispatch(
        self, events: Sequence[Event], own: Mapping[int, Frame], shared: Mapping[int, Frame]
    ) -> None:
        for event in events:
            message, message_for_others = own.get(event.seq), shared.get(event.seq)
            for stream in self._streams:
                if message is not None and stream.wants(event):
                    stream.enqueue(message)
                elif message_for_others is not None and stream.wants_of_others(event):
                    stream.enqueue(message_for_others)
        owners = {event.owner for event in events if event.name.kind == "job"}
        if owners:
            sharing = any(stream.sees_shared for stream in self._streams)
            self._counts.invalidate(*(() if sharing else owners))

    async def _recheck(self, events: Sequence[Event]) -> None:
        """End the streams of users whose rights changed by one of these events."""
        users = {event.owner for event in events if event.name.kind in {"token", "user"}}
        suspects = [s for s in self._streams if s.caller.user.id in users]
        if any(event.name is EventName.SETTINGS_UPDATED for event in events):
            self._counts.invalidate()
            suspects = list(self._streams)
        await self._check_credentials(suspects)

    async def _send_snapshots(self) -> None:
        for tick in itertools.count(1):
            read_progress = (
                self._yard.bus.reach is not BusReach.YARD or tick % _TICKS_PER_PROGRESS_READ == 0
            )
            await _while_available(
                self._publish_snapshots(
                    poll=tick % _TICKS_PER_POLL == 0, read_progress=read_progress
                )
            )
            now, every = self._clock.now(), tick % _TICKS_PER_CHECK == 0
            suspects = [s for s in self._streams if every or not s.caller.credential.good(now)]
            await _while_available(self._check_credentials(suspects))
            await self._clock.sleep(SNAPSHOT_EVERY)

    async def _check_credentials(self, suspects: Collection[Stream]) -> None:
        """End the streams whose credentials are no longer good; each is checked once."""
        of_caller = defaultdict[tuple[str, Role, bool], list[Stream]](list)
        for stream in suspects:
            caller = stream.caller
            of_caller[caller.credential.id, caller.user.role, caller.sees_shared].append(stream)
        for streams in of_caller.values():
            if not await self._access.still_good(streams[0].caller):
                for stream in streams:
                    stream.end(because_of_auth=True)

    async def _publish_snapshots(self, *, poll: bool, read_progress: bool) -> None:
        """Send snapshots: everything to fresh streams, changes to the others.

        Without *behind*, progress is read only if a stream is fresh or a job is new.
        """
        streams = list(self._streams)
        fresh = {stream for stream in streams if stream.fresh}
        for stream in fresh:
            stream.fresh = False  # until it loses messages again
        try:
            if poll and any(map(self._workers.is_for, streams)):
                await self._poll_workers()
            for board in (self._counts, self._workers):
                await board.publish(streams, fresh, poll=poll)
            if read_progress or fresh or self._progress.needs_poll:
                running = await self._running(streams)
                self._progress.publish(running, streams, fresh, self._clock.now())
            readers = [stream for stream in streams if await self._may_read_pages(stream)]
            await self._latest_pages.publish(readers, fresh)
        except StoreUnavailable:
            for stream in fresh:
                stream.fresh = True
            raise

    async def _may_read_pages(self, stream: Stream) -> bool:
        """Return whether the client may see the pages of the job that it follows.

        Its stream ends if its owner no longer shows what it has.
        """
        log, actor = stream.subscription.log, stream.caller.actor
        job_id = stream.subscription.job if log is None else log.job
        if job_id is None or not stream.sees_shared:
            return True
        try:
            job = (await self._yard.store.jobs.get(job_id)).job
        except NotFound:
            return False
        if not sees_job(actor, job, JobPart.STATE if log is None else JobPart.PAGES):
            stream.end(because_of_auth=True)
        return sees_job(actor, job, JobPart.PAGES)

    async def _running(self, streams: Collection[Stream]) -> Sequence[Standing]:
        """Return the running jobs, if a stream has the topic of jobs."""
        if not any(Topic.JOBS in stream.subscription.topics for stream in streams):
            return ()
        return await self._yard.store.jobs.find(_RUNNING, _MAX_RUNNING)

    async def _poll_workers(self) -> None:
        reports = await self._yard.store.workers.find()
        state = self._watching.state
        states = [(r.id, state(r), r.quiet, r.stopping, r.slots, r.running) for r in reports]
        if states != self._worker_states:
            self._worker_states = states
            self._workers.invalidate()

    async def _read_counts(self, actor: Actor) -> StateCountsOut:
        counted: Counter[str] = Counter()
        query = await visible_query(self._yard.store, actor, EVERY_JOB, JobPart.STATE)
        for (state, _), count in (await self._yard.store.jobs.counts(query)).items():
            counted[state.value] += count
        return StateCountsOut(**counted)

    async def _read_workers(self, actor: Actor) -> WorkersOut:
        reports = await self._watching.workers(actor)
        alive = self._watching.is_alive
        return WorkersOut(workers=[WorkerOut.of(report, alive=alive(report)) for report in reports])

    async def _send_pings(self) -> None:
        stale = False
        while True:
            await self._clock.sleep(_PING_CHECK_EVERY)
            now, before, stale = self._clock.monotonic(), stale, self._stale
            interval_s = 0.0 if stale is not before else PING_EVERY.total_seconds()
            message = frame("ping", PingOut(at=self._clock.now(), stale=stale))
            for stream in [s for s in self._streams if now - s.pinged_at >= interval_s]:
                stream.pinged_at = now
                stream.enqueue(message)


class _Relay:
    """Relays news from the bus, ahead of the next poll of the store."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._events_stored = asyncio.Event()

    async def run(self, publish: Callable[[Mapping[str, Progress]], None]) -> None:
        """Pass the progress of jobs, by id, to *publish* as it arrives, until cancelled."""
        with self._bus.subscribe() as subscriber:
            while True:
                await subscriber.news()
                progress, events_stored = subscriber.take()
                if progress:
                    publish(progress)
                if events_stored:
                    self._events_stored.set()
                await self._clock.sleep(RELAY_EVERY)

    async def until_events(self, at_most: timedelta) -> None:
        """Wait until the bus reports new events, or for *at_most*."""
        waits = (
            asyncio.ensure_future(self._clock.sleep(at_most)),
            asyncio.ensure_future(self._events_stored.wait()),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._events_stored.clear()


async def _while_available(work: Coroutine[Any, Any, None]) -> bool:
    """Await *work* and return true, or return false if the store is unavailable."""
    try:
        await work
    except StoreUnavailable as error:
        _log.warning("store unavailable, streams are waiting: %s", error)
        return False
    return True
