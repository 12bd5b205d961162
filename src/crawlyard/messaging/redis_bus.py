"""Redis bus. Redis may be unavailable at any time; only the speed of updates suffers.

Publishing never waits for Redis: subscribers in this process are notified at once, and a
background task sends the message on. While Redis is unavailable, the last progress of each job
is kept and sent when it is back.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta

from msgspec import Struct, field
from msgspec.json import Decoder, encode
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from crawlyard.clock import Clock
from crawlyard.core.jobs.progress import Progress
from crawlyard.errors import Invalid
from crawlyard.ids import new_id
from crawlyard.messaging.bus import PROGRESS_KEPT_FOR, BusReach, BusSubscription
from crawlyard.messaging.memory_bus import MemoryBus

PREFIX = "crawlyard:"
"""Prefix of all keys and channels."""

CHANNEL = f"{PREFIX}live"

TIMEOUT_S = 2.0
"""Time-out after which Redis counts as unavailable; only the bus itself waits for it."""

RETRY_EVERY = timedelta(seconds=1)
HEARTBEAT_EVERY_S = 1.0
"""Interval of messages without news, so that an outage is noticed while nothing runs."""

_SILENCE_S = (
    HEARTBEAT_EVERY_S + TIMEOUT_S
)  # no echo of our own messages for this long means an outage
_READ_WITHIN_S = 0.5  # short, because a caller waits for the result
_JOBS_PER_MESSAGE = 200
_MAX_WAITING_JOBS = 1_000  # jobs whose progress is kept while Redis is unavailable

_DECODE_ERRORS = (ValueError, RecursionError)  # msgspec raises RecursionError for deep nesting

_log = logging.getLogger(__name__)


class BusMessage(Struct, frozen=True, kw_only=True):
    """Message from one process to all others, as JSON."""

    origin: str  # id of the bus that sent it
    progress: Mapping[str, Progress] = {}  # by job id
    events_stored: bool = field(default=False, name="happened")


_message_decoder = Decoder(BusMessage)
_progress_decoder = Decoder(Progress)


class RedisBus:
    """Bus between all processes with the same Redis; without it, inside this one only."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._redis = _client(url)
        self._memory = MemoryBus(clock)
        self._origin = new_id()
        self._waiting: dict[str, Progress] = {}  # by job id, in the order of publication
        self._events_stored = False
        self._wake = asyncio.Event()
        self._has_subscribers = asyncio.Event()
        self._state_known = asyncio.Event()  # the state of Redis is known since the last `check`
        self._is_up = False  # the last request to Redis succeeded
        self._echo_received = False  # a message of our own came back over the subscription
        self._outage_logged = False
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def reach(self) -> BusReach:
        """Current reach; with subscribers, receiving must work as well as sending."""
        return (
            BusReach.YARD
            if self._is_up and (self._echo_received or not self._memory.has_subscribers)
            else BusReach.AWAY
        )

    def begin(self) -> None:
        """Start connecting to Redis, and keep trying until `close`."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run(), name="redis bus")

    async def check(self) -> BusReach:
        """Return the reach once Redis has responded or was found to be unavailable."""
        self._state_known.clear()
        self._send()
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * TIMEOUT_S):
                await self._state_known.wait()
        return self.reach

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Publish the progress of a job: here at once, elsewhere as soon as Redis accepts it."""
        await self._memory.publish(job_id, progress)
        self._waiting.pop(job_id, None)
        self._waiting[job_id] = progress
        if len(self._waiting) > _MAX_WAITING_JOBS:
            del self._waiting[next(iter(self._waiting))]
        self._send()

    async def notify_events_stored(self) -> None:
        """Notify subscribers that events were stored."""
        await self._memory.notify_events_stored()
        self._events_stored = True
        self._send()

    def _send(self) -> None:
        self.begin()
        self._wake.set()

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published anywhere, or the last one known in this process."""
        self.begin()
        progress = await self._read(job_id) if self._is_up else None
        return progress if progress is not None else await self._memory.latest(job_id)

    async def _read(self, job_id: str) -> Progress | None:
        try:
            async with asyncio.timeout(_READ_WITHIN_S):
                data = await self._redis.get(_key(job_id))
            return _progress_decoder.decode(data) if isinstance(data, bytes) else None
        except _DECODE_ERRORS as error:
            _log.debug("the progress of job %s in Redis cannot be decoded: %s", job_id, error)
        except Exception as error:  # noqa: BLE001 - any error: fall back to memory
            self._is_up = False  # don't wait for Redis again before it has responded
            _log.debug("Redis did not return the progress of job %s: %s", job_id, error)
        return None

    @contextmanager
    def subscribe(self) -> Iterator[BusSubscription]:
        """Subscribe, for the block, to what all processes publish."""
        try:
            with self._memory.subscribe() as subscription:
                self._has_subscribers.set()
                self._send()
                yield subscription
        finally:
            if not self._memory.has_subscribers:
                self._has_subscribers.clear()

    async def close(self) -> None:
        """Stop sending and receiving, and disconnect from Redis."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._disconnect()

    # --- background tasks

    async def _run(self) -> None:
        while not self._closed:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._send_messages())
                    group.create_task(self._receive_messages())
            except* Exception as errors:  # noqa: BLE001 - any error: jobs continue without Redis
                self._mark_unavailable(_first_error(errors))
            await self._disconnect()
            await self._clock.sleep(RETRY_EVERY)

    def _mark_unavailable(self, error: BaseException) -> None:
        """Record that Redis is unavailable, and log it once."""
        self._is_up = False
        self._state_known.set()
        if self._outage_logged:
            return
        self._outage_logged = True
        reason = str(error) or type(error).__name__
        _log.warning(
            "Redis is away (%s): until it is back, other processes see only checkpoints", reason
        )

    def _mark_available(self) -> None:
        """Record that Redis responds, and log it if an outage was logged."""
        self._is_up = True
        self._state_known.set()
        if self._outage_logged:
            self._outage_logged = False
            _log.warning("Redis is back")

    async def _disconnect(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(TIMEOUT_S):
                await self._redis.connection_pool.disconnect()

    async def _send_messages(self) -> None:
        """Send waiting messages in a loop, or a heartbeat if there are none."""
        while True:
            progress, events_stored = self._take_waiting()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._send_batch(progress, events_stored=events_stored)
                _raise_if_cancelled()
            except BaseException:
                self._put_back(progress, events_stored=events_stored)
                raise
            self._mark_available()
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_EVERY_S):
                    await self._wake.wait()

    def _take_waiting(self) -> tuple[Mapping[str, Progress], bool]:
        job_ids = list(self._waiting)[:_JOBS_PER_MESSAGE]
        progress = {job_id: self._waiting.pop(job_id) for job_id in job_ids}
        events_stored, self._events_stored = self._events_stored, False
        if not self._waiting:
            self._wake.clear()
        return progress, events_stored

    def _put_back(self, progress: Mapping[str, Progress], *, events_stored: bool) -> None:
        """Queue again what may not have arrived, unless something newer is queued."""
        self._waiting = {**progress, **self._waiting}
        self._events_stored |= events_stored
        self._wake.set()

    async def _send_batch(self, progress: Mapping[str, Progress], *, events_stored: bool) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for job_id, job_progress in progress.items():
            pipeline.set(_key(job_id), encode(job_progress), ex=PROGRESS_KEPT_FOR)
        if progress or events_stored or self._memory.has_subscribers:  # listeners rely on the echo
            message = BusMessage(
                origin=self._origin, progress=progress, events_stored=events_stored
            )
            pipeline.publish(CHANNEL, encode(message))
        else:
            pipeline.ping()
        await pipeline.execute()

    async def _receive_messages(self) -> None:
        """Receive what other processes publish, while this one has subscribers."""
        while True:
            _raise_if_cancelled()
            await self._has_subscribers.wait()
            pubsub = self._redis.pubsub()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await pubsub.subscribe(CHANNEL)
                self._wake.set()  # send now, to get the echo at once
                while self._memory.has_subscribers:
                    _raise_if_cancelled()
                    async with asyncio.timeout(_SILENCE_S):
                        self._handle_message(await _next_message(pubsub))
            finally:
                self._echo_received = False
                with suppress(Exception):
                    async with asyncio.timeout(TIMEOUT_S):
                        await pubsub.aclose()

    def _handle_message(self, data: bytes) -> None:
        """Pass a received message to the subscribers."""
        try:
            message = _message_decoder.decode(data)
        except _DECODE_ERRORS as error:  # from another version, or not from Crawlyard
            _log.debug("a message from Redis cannot be decoded: %s", error)
            return
        if message.origin == self._origin:
            self._echo_received = True
        else:
            self._memory.deliver(message.progress, events_stored=message.events_stored)


def _client(url: str) -> Redis:
    """Return a client for the Redis at *url*, not connected yet.

    Raises:
        Invalid: *url* is not a Redis URL.
    """
    no_retry = Retry(NoBackoff(), 0)  # this module alone retries
    try:
        client: Redis = Redis.from_url(
            url,
            client_name="crawlyard",
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            retry=no_retry,
        )
    except ValueError:
        # the URL isn't shown, as it may contain a password
        expected = "expected redis://HOST:PORT/0, rediss://… or unix://PATH"
        raise Invalid("redis_url", expected) from None
    return client


def _key(job_id: str) -> str:
    return f"{PREFIX}progress:{job_id}"


async def _next_message(pubsub: PubSub) -> bytes:
    """Return the next message of the subscription."""
    while True:
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
        if message is not None and isinstance(message["data"], bytes):
            return message["data"]


def _raise_if_cancelled() -> None:
    """Raise `CancelledError` if this task was cancelled.

    The client may hide it: up to Python 3.11, `asyncio.wait_for` swallows a cancellation that
    arrives when its awaitable has just finished.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first_error(inner) if isinstance(inner, BaseExceptionGroup) else inner
