"""What is asked of a store about what the server keeps beside the crawls."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from crawlyard.core.desk import Operation, Reply, SavedView, Section
from crawlyard.core.event import Event


class ViewStore(Protocol):
    """Saved views. Names are unique per owner and page."""

    async def add(self, view: SavedView) -> None:
        """Remember a new one.

        Raises:
            Conflict: its id is taken, or its owner has one of that name.
        """
        ...

    async def get(self, view_id: str) -> SavedView:
        """Return one.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def save(self, view: SavedView) -> None:
        """Replace version ``view.version - 1``.

        Raises:
            Conflict: the stored version is another, it is gone, or the name is taken.
        """
        ...

    async def find(self, owner: str, page: str | None = None) -> list[SavedView]:
        """Return the views of a user, by (page, name)."""
        ...

    async def delete(self, view_id: str, version: int) -> None:
        """Delete one.

        Raises:
            Conflict: the stored version is another, or it is gone.
        """
        ...


class OperationStore(Protocol):
    """Long operations, and who works at them."""

    async def add(self, operation: Operation) -> None:
        """Remember a new one.

        Raises:
            Conflict: its id is taken.
        """
        ...

    async def get(self, operation_id: str) -> Operation:
        """Return one.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def save(self, operation: Operation) -> None:
        """Replace version ``operation.version - 1``.

        Raises:
            Conflict: the stored version is another: somebody cancelled it, or works at it.
        """
        ...

    async def find(self, owner: str | None, before: str | None, limit: int) -> list[Operation]:
        """Return those of a user, or of all, with ids below *before*, newest first."""
        ...

    async def claim(self, now: datetime, until: datetime) -> Operation | None:
        """Take a running one that nobody works at, until *until*; ``None``: there is none.

        Two callers never get the same one while its lease lasts.
        """
        ...

    async def under_way(self) -> Mapping[str, int]:
        """Return the versions of those that have not ended, by their ids."""
        ...

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* that ended before *before*; return how many."""
        ...


class SettingStore(Protocol):
    """Sections of settings that an admin changes while the yard runs."""

    async def get(self, name: str) -> Section:
        """Return a section; one that was never written is empty, at version 0."""
        ...

    async def save(self, section: Section, event: Event | None = None) -> None:
        """Replace version ``section.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another.
        """
        ...


class ReplyStore(Protocol):
    """Answers to requests that may be repeated."""

    async def begin(self, reply: Reply, forgotten: datetime, dead: datetime) -> Reply | None:
        """Remember that a request is under way, if it is the first; else return what is known.

        What was kept before *forgotten* is not known any more; what has been under way
        since before *dead* is taken over.
        """
        ...

    async def settle(self, reply: Reply) -> None:
        """Keep the answer of a request that is under way."""
        ...

    async def drop(self, asker: str, key: str) -> None:
        """Forget a request that is under way: it may be tried again."""
        ...

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* that were kept before *before*; return how many."""
        ...
