"""Operations: what takes longer than an answer, done in portions, whoever dies meanwhile."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.desk import (
    MOST_FAILURES,
    Failure,
    Operation,
    OperationKind,
    OperationState,
)
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, NotFound, StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.store.store import Store

LEASE = timedelta(seconds=30)
"""Without a portion done, an operation is taken over."""

LOOK_EVERY = timedelta(seconds=1)
_RETRY_EVERY = timedelta(seconds=5)  # while the store is away
_TRIES = 8  # a change that loses a race is read and tried again; more losses mean a bug

_log = logging.getLogger(__name__)


class Portion(Struct, frozen=True, kw_only=True):
    """What was done of an operation in one go."""

    done: int  # things looked at, failed ones too
    failures: tuple[Failure, ...]
    cursor: str  # to go on from
    over: bool  # nothing is left


Worker: TypeAlias = Callable[[Actor, Operation, bool], Awaitable[Portion]]
"""Does a portion from the cursor on; the flag says that the one before may be half written."""


class Operations:
    """Starts, shows, cancels and runs operations.

    Any number may run on one store: an operation is leased to one of them. It acts as its
    owner, with the role that he has by then.
    """

    def __init__(self, store: Store, clock: Clock, workers: Mapping[OperationKind, Worker]) -> None:
        self._store = store
        self._clock = clock
        self._workers = workers
        self._nudged = asyncio.Event()

    async def start(
        self, actor: Actor, kind: OperationKind, request: Mapping[str, object], total: int
    ) -> Operation:
        """Remember an operation of the actor's, to be run soon, and return it.

        Raises:
            Forbidden: the actor may only look.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at operations, not start them")
        now = self._clock.now()
        operation = Operation(
            id=new_id(),
            owner=actor.id,
            kind=kind,
            request=request,
            total=total,
            created_at=now,
            updated_at=now,
        )
        await self._store.operations.add(operation)
        self._nudged.set()
        return operation

    async def get(self, actor: Actor, operation_id: str) -> Operation:
        """Return an operation.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        operation = await self._store.operations.get(operation_id)
        if not actor.may_see(operation.owner):
            raise NotFound(f"no operation {operation_id}")
        return operation

    async def list(
        self, actor: Actor, *, before: str | None = None, limit: int = 50
    ) -> list[Operation]:
        """Return the operations that the actor may see, with ids below *before*, newest first."""
        owner = None if actor.role is Role.ADMIN else actor.id
        return await self._store.operations.find(owner, before, limit)

    async def cancel(self, actor: Actor, operation_id: str) -> Operation:
        """End an operation after the portion that is under way; what was done stays done.

        One that has ended stays as it is.

        Raises:
            NotFound, Forbidden: as the names say.
        """
        for _ in range(_TRIES):
            old = await self.get(actor, operation_id)
            if not actor.may_change(old.owner):
                raise Forbidden(f"{actor.id} may look at operation {operation_id}, not cancel it")
            if old.state is not OperationState.RUNNING:
                return old
            now = self._clock.now()
            ended = replace(
                old,
                state=OperationState.CANCELLED,
                detail=f"cancelled by {actor.id}",
                leased_until=None,
                version=old.version + 1,
                updated_at=now,
                ended_at=now,
            )
            try:
                await self._store.operations.save(ended)
            except Conflict:
                continue  # a portion was done meanwhile
            return ended
        raise Conflict(f"operation {operation_id} keeps changing; try again")

    async def drain(self) -> bool:
        """Do all operations that are due; tell whether there was any.

        One that somebody else has is waited for until he has shown that he works at it,
        or his lease has lapsed and it is due; a store that is away is waited for.
        """
        worked, seen = False, dict[str, int]()
        while True:
            try:
                while await self.work_at_one():
                    worked = True
                versions = await self._store.operations.under_way()
            except StoreUnavailable as error:
                _log.warning("the store is away, trying again: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            if all(seen.setdefault(one, version) != version for one, version in versions.items()):
                return worked
            await self._clock.sleep(LOOK_EVERY)

    async def run(self) -> None:
        """Work at operations until cancelled; a store that is away is waited for."""
        while True:
            self._nudged.clear()
            try:
                while await self.work_at_one():
                    pass
            except StoreUnavailable as error:
                _log.warning("the store is away, trying again: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            await self._wait()

    async def work_at_one(self) -> bool:
        """Take an operation that nobody works at, and do all of it; tell whether there was one.

        Cancelled, it is given back after the portion that is under way.

        Raises:
            StoreUnavailable: the store is away; what was done stays done, and the rest is
                taken up once the lease has lapsed.
        """
        now = self._clock.now()
        operation = await self._store.operations.claim(now, now + LEASE)
        if operation is None:
            return False
        again = operation.version > 2  # somebody else had it before: the first claim made it 2
        while operation is not None and operation.state is OperationState.RUNNING:
            operation = await self._whole_step(operation, again=again)
            again = False
        return True

    async def _whole_step(self, operation: Operation, *, again: bool) -> Operation | None:
        """Do a portion as `_step` does; whoever is cancelled meanwhile still writes it down."""
        step = asyncio.ensure_future(self._step(operation, again=again))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreUnavailable):
                await self._give_back(await step)
            raise

    async def _give_back(self, operation: Operation | None) -> None:
        """Let others have an operation at once, if it is ours and not done."""
        if operation is None or operation.state is not OperationState.RUNNING:
            return
        free = replace(operation, leased_until=None, version=operation.version + 1)
        with contextlib.suppress(Conflict):  # somebody cancelled it
            await self._store.operations.save(free)

    async def _step(self, operation: Operation, *, again: bool) -> Operation | None:
        """Do a portion and write it down; return ``None`` if it is not ours any more."""
        try:
            actor = await self._actor(operation)
            portion = await self._workers[operation.kind](actor, operation, again)
        except StoreUnavailable:
            raise
        except CrawlyardError as error:
            after = self._ended(operation, OperationState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the operation must say so
            _log.exception("operation %s broke", operation.id)
            detail = f"{type(error).__name__}: {error}"[:500]
            after = self._ended(operation, OperationState.FAILED, detail)
        else:
            after = self._after(operation, portion)
        try:
            await self._store.operations.save(after)
        except Conflict:
            return None  # somebody cancelled it, or took it over
        return after

    async def _actor(self, operation: Operation) -> Actor:
        user = await self._store.users.get(operation.owner)
        if user.disabled_at is not None:
            raise Forbidden(f"the user {user.id} is disabled")
        return user.actor

    def _after(self, operation: Operation, portion: Portion) -> Operation:
        now = self._clock.now()
        after = replace(
            operation,
            done=operation.done + portion.done,
            failed=operation.failed + len(portion.failures),
            failures=(*operation.failures, *portion.failures)[:MOST_FAILURES],
            cursor=portion.cursor,
            leased_until=now + LEASE,
            version=operation.version + 1,
            updated_at=now,
        )
        if not portion.over:
            return after
        return replace(after, state=OperationState.COMPLETED, leased_until=None, ended_at=now)

    def _ended(self, operation: Operation, state: OperationState, detail: str) -> Operation:
        now = self._clock.now()
        return replace(
            operation,
            state=state,
            detail=detail,
            leased_until=None,
            version=operation.version + 1,
            updated_at=now,
            ended_at=now,
        )

    async def _wait(self) -> None:
        """Wait until something is started here, or for what others have started."""
        async with asyncio.TaskGroup() as group:
            waits = (
                group.create_task(self._nudged.wait()),
                group.create_task(self._clock.sleep(LOOK_EVERY)),
            )
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
