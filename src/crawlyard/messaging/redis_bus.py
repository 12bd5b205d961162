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

from msgspec import Struct
from msgspec.json import Decoder, encode
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from crawlyard.clock import Clock
from crawlyard.core.jobs.progress import Progress
from crawlyard.errors import Invalid
from crawlyard.ids import new_id
from crawlyard.messaging.bus import KEPT, BusReach, BusSubscription
from crawlyard.messaging.memory_bus import MemoryBus

PREFIX = "crawlyard:"
"""Prefix of all keys and channels."""

CHANNEL = f"{PREFIX}live"

PATIENCE_S = 2.0
"""Time-out after which Redis counts as unavailable; only the bus itself waits for it."""

RETRY_EVERY = timedelta(seconds=1)
HEARTBEAT_EVERY_S = 1.0
"""Interval of messages without news, so that an outage is noticed while nothing runs."""

_SILENCE_S = (
    HEARTBEAT_EVERY_S + PATIENCE_S
)  # no echo of our own messages for this long means an outage
_READ_WITHIN_S = 0.5  # short, because a caller waits for the result
_PORTION = 200  # jobs per message
_MOST_WAITING = 1_000  # jobs whose progress is kept while Redis is unavailable

_UNREADABLE = (ValueError, RecursionError)  # msgspec raises RecursionError for deep nesting

_log = logging.getLogger(__name__)


class BusMessage(Struct, frozen=True, kw_only=True):
    """Message from one process to all others, as JSON."""

    origin: str  # id of the bus that sent it
    progress: Mapping[str, Progress] = {}  # by job id
    happened: bool = False  # events were stored


_messages = Decoder(BusMessage)
_progress = Decoder(Progress)


class RedisBus:
    """Bus between all processes with the same Redis; without it, inside this one only."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._redis = _client(url)
        self._memory = MemoryBus(clock)
        self._origin = new_id()
        self._waiting: dict[str, Progress] = {}  # by job id, in the order of publication
        self._happened = False
        self._wake = asyncio.Event()
        self._has_subscribers = asyncio.Event()  # there are subscribers
        self._checked = asyncio.Event()  # the state of Redis is known since the last `check`
        self._well = False  # the last request to Redis succeeded
        self._receives = False  # a message of our own came back over the subscription
        self._away = False  # the outage was logged
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def reach(self) -> BusReach:
        """Current reach; with subscribers, receiving must work as well as sending."""
        return (
            BusReach.YARD
            if self._well and (self._receives or not self._memory.has_subscribers)
            else BusReach.AWAY
        )

    def begin(self) -> None:
        """Start connecting to Redis, and keep trying until `close`."""
        if self._work is None and not self._closed:
            self._work = asyncio.create_task(self._run(), name="redis bus")

    async def check(self) -> BusReach:
        """Return the reach once Redis has responded or was found to be unavailable."""
        self._checked.clear()
        self._send()
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * PATIENCE_S):
                await self._checked.wait()
        return self.reach

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Publish the progress of a job: here at once, elsewhere as soon as Redis accepts it."""
        await self._memory.publish(job_id, progress)
        self._waiting.pop(job_id, None)
        self._waiting[job_id] = progress
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._send()

    async def happened(self) -> None:
        """Notify subscribers that events were stored."""
        await self._memory.happened()
        self._happened = True
        self._send()

    def _send(self) -> None:
        self.begin()
        self._wake.set()

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published anywhere, or the last one known in this process."""
        self.begin()
        progress = await self._read(job_id) if self._well else None
        return progress if progress is not None else await self._memory.latest(job_id)

    async def _read(self, job_id: str) -> Progress | None:
        try:
            async with asyncio.timeout(_READ_WITHIN_S):
                data = await self._redis.get(_key(job_id))
            return _progress.decode(data) if isinstance(data, bytes) else None
        except _UNREADABLE as error:
            _log.debug("what Redis has of job %s cannot be read: %s", job_id, error)
        except Exception as error:  # noqa: BLE001 - any error: fall back to memory
            self._well = False  # don't wait for Redis again before it has responded
            _log.debug("Redis did not publish the progress of job %s: %s", job_id, error)
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
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._hang_up()

    # --- background tasks

    async def _run(self) -> None:
        while not self._closed:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._send_messages())
                    group.create_task(self._receive_messages())
            except* Exception as errors:  # noqa: BLE001 - any error: jobs continue without Redis
                self._mark_away(_first(errors))
            await self._hang_up()
            await self._clock.sleep(RETRY_EVERY)

    def _mark_away(self, error: BaseException) -> None:
        """Record that Redis is unavailable, and log it once."""
        self._well = False
        self._checked.set()
        if self._away:
            return
        self._away = True
        reason = str(error) or type(error).__name__
        _log.warning(
            "Redis is away (%s): live progress goes by memory and checkpoints until it is back",
            reason,
        )

    def _mark_back(self) -> None:
        """Record that Redis responds, and log it if an outage was logged."""
        self._well = True
        self._checked.set()
        if self._away:
            self._away = False
            _log.warning("Redis is back")

    async def _hang_up(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(PATIENCE_S):
                await self._redis.connection_pool.disconnect()

    async def _send_messages(self) -> None:
        """Send waiting messages in a loop, or a heartbeat if there are none."""
        while True:
            progress, happened = self._take_waiting()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._send_batch(progress, happened=happened)
                _unless_cancelled()
            except BaseException:
                self._put_back(progress, happened=happened)
                raise
            self._mark_back()
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_EVERY_S):
                    await self._wake.wait()

    def _take_waiting(self) -> tuple[Mapping[str, Progress], bool]:
        job_ids = list(self._waiting)[:_PORTION]
        progress = {job_id: self._waiting.pop(job_id) for job_id in job_ids}
        happened, self._happened = self._happened, False
        if not self._waiting:
            self._wake.clear()
        return progress, happened

    def _put_back(self, progress: Mapping[str, Progress], *, happened: bool) -> None:
        """Queue again what may not have arrived, unless something newer is queued."""
        self._waiting = {**progress, **self._waiting}
        self._happened |= happened
        self._wake.set()

    async def _send_batch(self, progress: Mapping[str, Progress], *, happened: bool) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for job_id, job_progress in progress.items():
            pipeline.set(_key(job_id), encode(job_progress), ex=KEPT)
        if progress or happened or self._memory.has_subscribers:  # listeners rely on the echo
            message = BusMessage(origin=self._origin, progress=progress, happened=happened)
            pipeline.publish(CHANNEL, encode(message))
        else:
            pipeline.ping()
        await pipeline.execute()

    async def _receive_messages(self) -> None:
        """Receive what others publish, while there are subscribers here."""
        while True:
            _unless_cancelled()
            await self._has_subscribers.wait()
            pubsub = self._redis.pubsub()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await pubsub.subscribe(CHANNEL)
                self._wake.set()  # send now, to get the echo at once
                while self._memory.has_subscribers:
                    _unless_cancelled()
                    async with asyncio.timeout(_SILENCE_S):
                        self._take_up(await _next(pubsub))
            finally:
                self._receives = False
                with suppress(Exception):
                    async with asyncio.timeout(PATIENCE_S):
                        await pubsub.aclose()  # type: ignore[no-untyped-call]  # it has no types

    def _take_up(self, data: bytes) -> None:
        """Pass a received message to the subscribers."""
        try:
            message = _messages.decode(data)
        except _UNREADABLE as error:  # from another version, or not from Crawlyard
            _log.debug("what came over Redis cannot be read: %s", error)
            return
        if message.origin == self._origin:
            self._receives = True
        else:
            self._memory.deliver(message.progress, happened=message.happened)


def _client(url: str) -> Redis:
    """Return a client for the Redis at *url*, not connected yet.

    Raises:
        Invalid: *url* is not a Redis URL.
    """
    never = Retry(NoBackoff(), 0)  # retries are up to this module alone
    try:
        client: Redis = Redis.from_url(
            url,
            client_name="crawlyard",
            socket_connect_timeout=PATIENCE_S,
            socket_timeout=PATIENCE_S,
            retry=never,
        )
    except ValueError:
        # the URL isn't shown, as it may contain a password
        expected = "expected redis://HOST:PORT/0, rediss://… or unix://PATH"
        raise Invalid("redis_url", expected) from None
    return client


def _key(job_id: str) -> str:
    return f"{PREFIX}progress:{job_id}"


async def _next(pubsub: PubSub) -> bytes:
    """Return the next message of the subscription."""
    while True:
        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
        if message is not None and isinstance(message["data"], bytes):
            return message["data"]


def _unless_cancelled() -> None:
    """Raise `CancelledError` if this task was cancelled.

    The client may hide it: up to Python 3.11, `asyncio.wait_for` swallows a cancellation that
    arrives when its awaitable has just finished.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
