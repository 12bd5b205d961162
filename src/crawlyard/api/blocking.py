"""Blocking API: each call runs in the event loop of a separate thread."""

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial, wraps
from typing import Any
from weakref import WeakSet

from anyio.from_thread import BlockingPortal, start_blocking_portal

from crawlyard.api import far
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.endpoints.endpoint import LARGEST_PART, methods_of
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun
from crawlyard.services.surface import Surface, nouns

# a client needs no database
with lazily():
    from crawlyard.api import near


@contextmanager
def connect(url: str | None = None, token: str | None = None, **options: Any) -> Iterator[Any]:
    """Connect to the instance at *url*; see `crawlyard.connect`."""
    with _blocking(far.connect(url, token, **options)) as surface:
        yield surface


@contextmanager
def open(  # noqa: A001 - `crawlyard.sync.open`
    settings: Settings | None = None, actor: Actor = LOCAL
) -> Iterator[Any]:
    """Open an instance in this process; see `crawlyard.open`.

    `jobs.run` crawls in this process; all other jobs need a worker: ``crawlyard work``.
    """
    with _blocking(near.open(settings, actor)) as surface:
        yield surface


def every(
    ask: Callable[..., Any], *args: Any, limit: int | None = None, **filters: Any
) -> Iterator[Any]:
    """Yield the items of a list, at most *limit*, page by page.

    For example ``every(yard.jobs.list, state="failed")``.
    """
    if inspect.isasyncgenfunction(inspect.unwrap(ask)):  # it paginates itself
        yield from ask(*args, **filters, limit=limit)
        return
    remaining, cursor = limit, None
    while remaining is None or remaining > 0:
        size = LARGEST_PART if remaining is None else min(remaining, LARGEST_PART)
        part = ask(*args, **filters, limit=size, cursor=cursor)
        yield from part.items
        remaining = None if remaining is None else remaining - len(part.items)
        cursor = part.next_cursor
        if cursor is None:
            return


@contextmanager
def _blocking(opened: AbstractAsyncContextManager[Surface]) -> Iterator["_Surface"]:
    with (
        start_blocking_portal(name="crawlyard") as portal,
        portal.wrap_async_context_manager(opened) as surface,
    ):
        loop = _Loop(portal)
        try:
            yield _Surface(loop, surface)
        finally:
            loop.close()


class _Loop:
    """Event loop in another thread, and its open iterators."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._open = WeakSet[Generator[Any]]()

    def call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the awaited result of *call*, or an iterator for an async one."""
        result = self._portal.call(partial(_result, call, *args, **kwargs))
        if not hasattr(result, "__anext__"):
            return result
        items = self._items(result)
        self._open.add(items)
        return items

    def close(self) -> None:
        """Close the open iterators."""
        for items in list(self._open):
            items.close()

    def _items(self, items: Any) -> Generator[Any]:
        try:
            while True:
                try:
                    yield self._portal.call(items.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            with suppress(RuntimeError):  # dropped within the loop, which then closes it itself
                self._portal.start_task_soon(items.aclose).result()


class _Surface:
    """Nouns of a surface with blocking methods."""

    def __init__(self, loop: _Loop, surface: Surface) -> None:
        for name in nouns():
            setattr(self, name, _noun(loop, getattr(surface, name)))


def _noun(loop: _Loop, noun: Noun) -> object:
    """Return an object with blocking methods of *noun*, documented for `help`."""
    kind = type(noun)
    methods = {n: staticmethod(_method(loop, getattr(noun, n))) for n in methods_of(kind)}
    return type(kind.__name__, (), {"__doc__": inspect.getdoc(kind), **methods})()


def _method(loop: _Loop, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)  # a function, not a partial: `help` shows its parameters and its docstring
    def method(*args: Any, **kwargs: Any) -> Any:
        return loop.call(call, *args, **kwargs)

    return method


async def _result(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = call(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result
