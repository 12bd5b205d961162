"""`ViewStore`, `OperationStore`, `SettingStore` and `ReplyStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.desk import Operation, OperationState, Reply, SavedView, Section
from crawlyard.core.event import Event
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.codec.desk import operation_of, operation_row, section_of, section_row
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.naming import taken
from crawlyard.store.text import scrubbed


class MemoryViews(Struct, frozen=True):
    """`ViewStore` in memory."""

    _views: dict[str, SavedView] = field(default_factory=dict)

    async def add(self, view: SavedView) -> None:
        if view.id in self._views:
            raise Conflict(f"there is a view {view.id} already")
        self._keep(view)

    async def get(self, view_id: str) -> SavedView:
        view = self._views.get(view_id)
        if view is None:
            raise NotFound(f"no view {view_id}")
        return view

    async def save(self, view: SavedView) -> None:
        self._check_version(view.id, view.version - 1)
        self._keep(view)

    async def find(self, owner: str, page: str | None = None) -> list[SavedView]:
        found = (v for v in self._views.values() if v.owner == owner and page in (None, v.page))
        return sorted(found, key=lambda v: (v.page, v.name))

    async def delete(self, view_id: str, version: int) -> None:
        self._check_version(view_id, version)
        del self._views[view_id]

    def _check_version(self, view_id: str, version: int) -> None:
        view = self._views.get(view_id)
        if view is None or view.version != version:
            raise Conflict(f"view {view_id} is not at version {version} any more")

    def _keep(self, view: SavedView) -> None:
        same = (view.owner, view.page, view.name)
        others = (v for v in self._views.values() if v.id != view.id)
        if any((v.owner, v.page, v.name) == same for v in others):
            raise taken("view", view.name)
        self._views[view.id] = scrubbed(view)


class MemoryOperations(Struct, frozen=True):
    """`OperationStore` in memory."""

    _operations: dict[str, Operation] = field(default_factory=dict)

    async def add(self, operation: Operation) -> None:
        if operation.id in self._operations:
            raise Conflict(f"there is an operation {operation.id} already")
        self._keep(operation)

    async def get(self, operation_id: str) -> Operation:
        operation = self._operations.get(operation_id)
        if operation is None:
            raise NotFound(f"no operation {operation_id}")
        return operation

    async def save(self, operation: Operation) -> None:
        before = self._operations.get(operation.id)
        version = operation.version - 1
        if before is None or before.version != version:
            raise Conflict(f"operation {operation.id} is not at version {version} any more")
        self._keep(operation)

    async def find(self, owner: str | None, before: str | None, limit: int) -> list[Operation]:
        found = (
            o
            for o in self._operations.values()
            if owner in (None, o.owner) and (before is None or o.id < before)
        )
        return sorted(found, key=lambda o: o.id, reverse=True)[:limit]

    async def claim(self, now: datetime, until: datetime) -> Operation | None:
        free = (o for o in self._operations.values() if _free(o, now))
        first = min(free, key=lambda o: o.id, default=None)
        if first is None:
            return None
        mine = replace(first, leased_until=until, version=first.version + 1)
        self._operations[mine.id] = mine
        return mine

    async def under_way(self) -> Mapping[str, int]:
        every = self._operations.values()
        return {o.id: o.version for o in every if o.state is OperationState.RUNNING}

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        old = (o.id for o in self._operations.values() if o.ended_at and o.ended_at < before)
        gone = list(islice(old, rows))
        for operation_id in gone:
            del self._operations[operation_id]
        return len(gone)

    def _keep(self, operation: Operation) -> None:
        # through JSON, as in a database: tuples in the request come back as lists
        self._operations[operation.id] = operation_of(operation_row(scrubbed(operation)))


def _free(operation: Operation, now: datetime) -> bool:
    until = operation.leased_until
    return operation.state is OperationState.RUNNING and (until is None or until <= now)


class MemorySettings(Struct, frozen=True):
    """`SettingStore` in memory."""

    _shelf: Shelf

    async def get(self, name: str) -> Section:
        return self._shelf.sections.get(name, Section(name=name))

    async def save(self, section: Section, event: Event | None = None) -> None:
        if (await self.get(section.name)).version != section.version - 1:
            raise Conflict(
                f"settings {section.name} are not at version {section.version - 1} any more"
            )
        self._shelf.sections[section.name] = section_of(section_row(scrubbed(section)))
        self._shelf.tell(*([event] if event else []))


class MemoryReplies(Struct, frozen=True):
    """`ReplyStore` in memory."""

    _replies: dict[tuple[str, str], Reply] = field(default_factory=dict)

    async def begin(self, reply: Reply, forgotten: datetime, dead: datetime) -> Reply | None:
        key = (reply.asker, reply.key)
        known = self._replies.get(key)
        since = forgotten if known is None or known.status else max(forgotten, dead)
        if known is not None and known.created_at >= since:
            return known
        self._replies[key] = reply
        return None

    async def settle(self, reply: Reply) -> None:
        key = (reply.asker, reply.key)
        known = self._replies.get(key)
        if known is not None and (known.status, known.request) == (0, reply.request):
            self._replies[key] = replace(
                known, status=reply.status, headers=reply.headers, body=reply.body
            )

    async def drop(self, asker: str, key: str) -> None:
        known = self._replies.get((asker, key))
        if known is not None and known.status == 0:
            del self._replies[asker, key]

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        old = (key for key, reply in self._replies.items() if reply.created_at < before)
        gone = list(islice(old, rows))
        for key in gone:
            del self._replies[key]
        return len(gone)
