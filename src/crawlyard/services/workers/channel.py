"""Channel: messages between a worker and the child process of an isolated job, over a socket.

The child has no connection to the database: each call of its store is a message that its worker
answers. Both ends run the same code, so messages are pickled.
"""

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from inspect import isasyncgen, isasyncgenfunction
from itertools import count
from typing import Any

from msgspec import Struct, field
from msgspec.structs import fields

from crawlyard.clock import Course
from crawlyard.config import Settings
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Claim, Order
from crawlyard.core.workers.measures import Measures
from crawlyard.engine.render.process import ProcessUsage
from crawlyard.errors import CrawlyardError
from crawlyard.store.store import Store

_LENGTH = 8  # bytes of the length prefix of each message


class ChildStart(Struct, frozen=True, kw_only=True):
    """The first message to a child: its job."""

    settings: Settings
    claim: Claim
    may_send: bool  # requests, from the start
    course: Course | None  # of the worker's clock


class Obey(Struct, frozen=True, kw_only=True):
    """An order that the worker has read from the store at *asked_at*."""

    order: Order
    asked_at: datetime
    oldest: timedelta  # maximum age of orders
    course: Course | None


class Hold(Struct, frozen=True):
    """Stop or resume sending requests."""

    held: bool


class Drain(Struct, frozen=True):
    """Stop; requests in flight get *within_s* seconds to finish."""

    within_s: float


class Call(Struct, frozen=True, kw_only=True):
    """A call of a method of the worker's store, or of its bus."""

    number: int
    part: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class CallResult(Struct, frozen=True, kw_only=True):
    """The result of a call; for a generator, its next item or its end."""

    number: int
    values: tuple[Any, ...] = ()  # one, or none at the end of a generator
    more: bool = False  # another answer follows
    error: Exception | None = None


class Report(Struct, frozen=True, kw_only=True):
    """The child's status, and its measurements since the last report."""

    hosts: tuple[HostReport, ...]
    measures: Measures
    usage: ProcessUsage  # of the child since its start


class Channel:
    """One end of the connection between a worker and a child."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, connection: socket.socket) -> "Channel":
        """Return the channel over a connected socket."""
        return cls(*await asyncio.open_unix_connection(sock=connection))

    def send(self, message: object) -> None:
        """Send a message, or drop it if the other end is gone."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._writer.write(len(data).to_bytes(_LENGTH, "big"))
        self._writer.write(data)

    async def flush(self) -> None:
        """Wait while too much waits to be sent.

        Raises:
            ConnectionError: the other end is gone.
        """
        await self._writer.drain()

    async def receive(self) -> object:
        """Return the next message, ``None`` once the other end is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return pickle.loads(data)  # noqa: S301 - of a process of ours

    async def close(self) -> None:
        """Close this end once pending messages are sent."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class StoreCaller:
    """The child's side of calls to the worker's store."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = count()
        self._answers: dict[int, asyncio.Queue[CallResult]] = {}

    async def call(self, part: str, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method and return its result, or raise its error."""
        results = [value async for value in self.stream(part, method, *args, **kwargs)]
        return results[0]

    async def stream(
        self, part: str, method: str, /, *args: Any, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Call a generator and yield its items, or raise its error."""
        number = next(self._numbers)
        answers = self._answers[number] = asyncio.Queue[CallResult]()
        try:
            self._channel.send(
                Call(number=number, part=part, method=method, args=args, kwargs=kwargs)
            )
            await self._channel.flush()
            while True:
                answer = await answers.get()
                if answer.error is not None:
                    raise answer.error
                for value in answer.values:
                    yield value
                if not answer.more:
                    return
        finally:
            del self._answers[number]

    def receive(self, answer: CallResult) -> None:
        """Pass an answer on to its call, which may have been cancelled."""
        if answer.number in self._answers:
            self._answers[answer.number].put_nowait(answer)

    def part(self, name: str, kind: type) -> Any:
        """Return a stand-in for an object of class *kind* that the worker has under *name*."""
        return _Part(self, name, kind)

    def store(self) -> Store:
        """Return a store whose calls are made by the worker."""
        parts = {f.name: f.type for f in fields(Store) if isinstance(f.type, type)}
        attributes: dict[str, Any] = {name: self.part(name, kind) for name, kind in parts.items()}
        return Store(**attributes, pool_waits=None, check=_nothing, close=_nothing)


class _Part:
    def __init__(self, caller: StoreCaller, name: str, kind: type) -> None:
        self._caller, self._name, self._kind = caller, name, kind

    def __getattr__(self, method: str) -> Callable[..., Any]:
        streams = isasyncgenfunction(getattr(self._kind, method))
        return partial(self._caller.stream if streams else self._caller.call, self._name, method)


async def _nothing() -> None:
    """Do nothing: the worker checks and closes its store itself."""


async def answer(channel: Channel, call: Call, method: Callable[..., Any]) -> None:
    """Call *method* for a child, and send it the results or the error."""
    number = call.number
    try:
        result = method(*call.args, **call.kwargs)
        if isasyncgen(result):
            async for item in result:
                channel.send(CallResult(number=number, values=(item,), more=True))
                await channel.flush()
            channel.send(CallResult(number=number))
        else:
            channel.send(CallResult(number=number, values=(await result,)))
    except CrawlyardError as error:
        channel.send(CallResult(number=number, error=error))
    except Exception as error:  # noqa: BLE001 - the child raises it
        wrapped = RuntimeError(f"{type(error).__name__}: {error}")
        channel.send(CallResult(number=number, error=wrapped))
