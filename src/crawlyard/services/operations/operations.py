"""Operations: long-running actions, done in portions that survive a crash."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import SectionName, shows_to_everyone
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.operations.operation import (
    MOST_FAILURES,
    Failure,
    Operation,
    OperationKind,
    OperationState,
)
from crawlyard.errors import Conflict, CrawlyardError, Forbidden, NotFound, StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.services.races import TRIES
from crawlyard.store.store import Store

LEASE = timedelta(seconds=30)
"""Time without a finished portion after which an operation is taken over."""

LOOK_EVERY = timedelta(seconds=1)
_RETRY_EVERY = timedelta(seconds=5)  # while the store is unavailable

_log = logging.getLogger(__name__)


class Portion(Struct, frozen=True, kw_only=True):
    """The result of one portion of an operation."""

    done: int  # items processed, including failed ones
    failures: tuple[Failure, ...]
    cursor: str  # where the next portion starts
    over: bool  # nothing is left


Worker: TypeAlias = Callable[[Actor, Operation, bool], Awaitable[Portion]]
"""Does a portion from the cursor on; the flag says that the same portion may be half done."""


class Operations:
    """Starts, shows, cancels and runs operations.

    Any number of instances of this class may run on one store; each operation is leased to one
    instance at a time. An operation acts as its owner, with the role they have at that time.
    """

    def __init__(self, store: Store, clock: Clock, workers: Mapping[OperationKind, Worker]) -> None:
        self._store = store
        self._clock = clock
        self._workers = workers
        self._nudged = asyncio.Event()

    async def start(
        self, actor: Actor, kind: OperationKind, request: Mapping[str, object], total: int
    ) -> Operation:
        """Store a new operation of the actor, which is run soon, and return it.

        Raises:
            Forbidden: the actor may only view.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view operations, but not start them")
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
            NotFound: no operation has that id, or it belongs to another user.
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
        """Cancel an operation after the portion in progress; what was done stays done.

        An operation that has ended is left as it is.

        Raises:
            NotFound, Forbidden: as the names say.
        """
        for _ in range(TRIES):
            old = await self.get(actor, operation_id)
            if not actor.may_change(old.owner):
                raise Forbidden(f"{actor.id} may view operation {operation_id}, but not cancel it")
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
        """Do all operations that are due; return whether there was any.

        If another process holds an operation, wait until it has shown progress, or until its
        lease has lapsed and the operation is due. Retries while the store is unavailable.
        """
        worked, last_versions = False, dict[str, int]()
        while True:
            try:
                while await self.work_at_one():
                    worked = True
                versions = await self._store.operations.under_way()
            except StoreUnavailable as error:
                _log.warning("the store is unavailable, retrying: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            if all(
                last_versions.setdefault(operation_id, version) != version
                for operation_id, version in versions.items()
            ):
                return worked
            await self._clock.sleep(LOOK_EVERY)

    async def run(self) -> None:
        """Run operations until cancelled; retry while the store is unavailable."""
        while True:
            self._nudged.clear()
            try:
                while await self.work_at_one():
                    pass
            except StoreUnavailable as error:
                _log.warning("the store is unavailable, retrying: %s", error)
                await self._clock.sleep(_RETRY_EVERY)
                continue
            await self._wait()

    async def work_at_one(self) -> bool:
        """Claim an operation without a lease and finish it; return whether there was one.

        If cancelled, finish the portion in progress and then release the operation.

        Raises:
            StoreUnavailable: the store is unavailable; what was done stays done, and the rest
                is resumed once the lease has lapsed.
        """
        now = self._clock.now()
        operation = await self._store.operations.claim(now, now + LEASE)
        if operation is None:
            return False
        again = operation.version > 2  # someone else had it before: the first claim makes it 2
        while operation is not None and operation.state is OperationState.RUNNING:
            operation = await self._whole_step(operation, again=again)
            again = False
        return True

    async def _whole_step(self, operation: Operation, *, again: bool) -> Operation | None:
        """Do a portion as `_step` does, and still store its result if cancelled meanwhile."""
        step = asyncio.ensure_future(self._step(operation, again=again))
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            with contextlib.suppress(StoreUnavailable):
                await self._give_back(await step)
            raise

    async def _give_back(self, operation: Operation | None) -> None:
        """Release an operation so that others can claim it at once, if it is ours and not done."""
        if operation is None or operation.state is not OperationState.RUNNING:
            return
        free = replace(operation, leased_until=None, version=operation.version + 1)
        with contextlib.suppress(Conflict):  # someone cancelled it
            await self._store.operations.save(free)

    async def _step(self, operation: Operation, *, again: bool) -> Operation | None:
        """Do a portion and store its result; return ``None`` if the operation is no longer ours."""
        try:
            actor = await self._actor(operation)
            portion = await self._workers[operation.kind](actor, operation, again)
        except StoreUnavailable:
            raise
        except CrawlyardError as error:
            after = self._end(operation, OperationState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - any failure must be recorded on the operation
            _log.exception("operation %s failed", operation.id)
            detail = f"{type(error).__name__}: {error}"[:500]
            after = self._end(operation, OperationState.FAILED, detail)
        else:
            after = self._after(operation, portion)
        try:
            await self._store.operations.save(after)
        except Conflict:
            return None  # someone cancelled it or took it over
        return after

    async def _actor(self, operation: Operation) -> Actor:
        user = await self._store.users.get(operation.owner)
        if user.disabled_at is not None:
            raise Forbidden(f"the user {user.id} is disabled")
        sharing = await self._store.settings.get(SectionName.SHARING)
        return replace(user.actor, sees_shared=shows_to_everyone(sharing.value))

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

    def _end(self, operation: Operation, state: OperationState, detail: str) -> Operation:
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
        """Wait until an operation is started here, or for `LOOK_EVERY` in case others start one."""
        async with asyncio.TaskGroup() as group:
            waits = (
                group.create_task(self._nudged.wait()),
                group.create_task(self._clock.sleep(LOOK_EVERY)),
            )
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
