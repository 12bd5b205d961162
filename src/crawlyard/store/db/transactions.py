"""Parts of the store: classes whose methods are transactions."""

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from crawlyard.errors import StoreFull
from crawlyard.store.db.database import Database, Work

P = ParamSpec("P")
T = TypeVar("T")


class StorePart:
    """A part of the store: each method that `reads` or `writes` is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database


S = TypeVar("S", bound=StorePart)


def reads(
    work: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make an async method of *work*, a query on a connection, as `Database.read` runs it."""

    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.read(lambda conn: work(self, conn, *args, **kwargs))

    update_wrapper(method, work)
    return method


def writes(
    work: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make an async method of *work*, changes on a connection, as `Database.write` runs it."""

    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.write(lambda conn: work(self, conn, *args, **kwargs))

    update_wrapper(method, work)
    return method


def frees(
    work: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Make an async method of *work*, as `writes` does, that also works on a full disk."""

    async def method(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await write_freeing(self._database, lambda conn: work(self, conn, *args, **kwargs))

    update_wrapper(method, work)
    return method


async def write_freeing(database: Database, work: Work[T], on_full: Work[T] | None = None) -> T:
    """Run *work*, which frees space; on a full disk, release the reserve and run it again.

    Then *on_full*, if there is one, is run instead of *work*.
    """
    try:
        return await database.write(work)
    except StoreFull:
        if database.reserve is None:
            raise
        await database.compute(database.reserve.release)
        return await database.write(on_full or work)
