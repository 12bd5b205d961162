"""SQL that was compiled for one database serves the next: to compile it takes half a test's time.

A store makes its engines anew, and each would compile the same statements again.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Dialect, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import LRUCache

from crawlyard.store.admin import place
from crawlyard.store.db import database, postgres

_COMPILED: LRUCache[Any, Any] = LRUCache(3000)
_DIALECTS: dict[tuple[object, ...], Dialect] = {}
"""What is compiled is of one dialect, and that knows its database once it was connected."""


def keep() -> None:
    """Let all stores on files and on Postgres share what is compiled, from now on."""
    for module in (database, place):
        vars(module)["create_engine"] = sharing(create_engine)
    vars(postgres)["create_async_engine"] = sharing(create_async_engine)


def sharing(create: Callable[..., Any]) -> Callable[..., Any]:
    """Return what creates the same engines, which share what is compiled."""

    def created(*args: Any, **options: Any) -> Any:
        new_engine = create(*args, **options)
        engine = getattr(new_engine, "sync_engine", new_engine)
        if (cache := _DIALECTS.get(_kind(engine.dialect))) is None:
            event.listen(engine, "engine_connect", _learn)
        else:
            engine.dialect = engine.pool._dialect = cache
            engine._compiled_cache = _COMPILED
        return new_engine

    return created


def _learn(connection: Connection) -> None:
    _DIALECTS.setdefault(_kind(connection.dialect), connection.dialect)


def _kind(dialect: Any) -> tuple[object, ...]:
    return type(dialect), dialect._on_connect_isolation_level
