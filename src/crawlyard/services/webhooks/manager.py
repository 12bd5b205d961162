"""Webhook service: endpoints, their events, and the log of their deliveries."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import not_granted, withheld
from crawlyard.core.access.user import Actor, Grant, Grants, Role
from crawlyard.core.event import EventName
from crawlyard.core.webhooks.webhook import (
    BY_HAND,
    EVERYTHING,
    MAX_DESCRIPTION,
    Delivery,
    DeliveryState,
    Secret,
    Webhook,
    check_patterns,
)
from crawlyard.engine.http.dns import addresses_of
from crawlyard.engine.http.guard import Guard
from crawlyard.errors import (
    Conflict,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    Stale,
    Version,
    check_version,
)
from crawlyard.ids import new_id
from crawlyard.services.access.policy import Policy
from crawlyard.services.webhooks.receivers import Resolve, receiver
from crawlyard.services.webhooks.signing import new_secret
from crawlyard.store.queries import WebhookQuery
from crawlyard.store.store import Store

_TRIES = 8  # attempts per change: after a lost race it is reread; more losses mean a bug

T = TypeVar("T")


class Webhooks:
    """Adds, finds, changes, tests and deletes webhooks, and shows their deliveries.

    Every method takes its actor first: a webhook that they may not see is `NotFound`, one
    that they may not change is `Forbidden`. A webhook receives the events of what its owner
    owns and no others, even if the owner is an admin. If *version* is given, only that
    version is changed: after a concurrent change the call raises `Stale` and writes nothing.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        grants: Grants | None = None,
        resolve: Resolve = addresses_of,
    ) -> None:
        self._store = store
        self._clock = clock
        self._grants = grants
        self._policy = Policy(store)
        self._resolve = resolve

    async def create(
        self,
        actor: Actor,
        url: str,
        *,
        events: Sequence[str] = (EVERYTHING,),
        description: str = "",
        allow_addresses: Sequence[str] = (),
    ) -> Webhook:
        """Create a webhook owned by the actor, with a new secret, and return it.

        *events* are names, or patterns such as ``job.*``.

        Raises:
            Invalid: a value is not valid; see `receivers.receiver` for *url*.
            Forbidden: the actor is read-only, or *allow_addresses* is not granted here.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at webhooks, not add them")
        now = self._clock.now()
        asked = Webhook(
            id=new_id(),
            owner=actor.id,
            url=url,
            description=description,
            events=tuple(events),
            secrets=(Secret(value=new_secret()),),
            allow_addresses=tuple(allow_addresses),
            created_at=now,
            updated_at=now,
        )
        webhook = await self._checked(actor, asked)
        event = webhook.event(EventName.WEBHOOK_CREATED, now, actor.id)
        await self._store.webhooks.add(webhook, event)
        return webhook

    async def get(self, actor: Actor, webhook_id: str) -> Webhook:
        """Return a webhook.

        Raises:
            NotFound: no such webhook, or it belongs to another user.
        """
        webhook = await self._store.webhooks.get(webhook_id)
        if not actor.may_see(webhook.owner):
            raise NotFound(f"no webhook {webhook_id}")
        return webhook

    async def find(
        self, actor: Actor, query: WebhookQuery | None = None, limit: int = 100
    ) -> list[Webhook]:
        """Return the webhooks matching *query* that the actor may see, newest first.

        Without a query, return those that belong to no job.
        """
        query = query or WebhookQuery(job_id="")
        if actor.role is not Role.ADMIN:
            query = replace(query, owner=actor.id)
        return await self._store.webhooks.find(query, limit)

    async def update(
        self,
        actor: Actor,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        allow_addresses: Sequence[str] | None = None,
        version: Version = None,
    ) -> Webhook:
        """Change the given fields of a webhook, and return it.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
            Invalid: a value is not valid, as for `create`.
        """
        asked: dict[str, Any] = {
            "url": url,
            "events": None if events is None else tuple(events),
            "description": description,
            "allow_addresses": None if allow_addresses is None else tuple(allow_addresses),
        }
        given = {name: value for name, value in asked.items() if value is not None}

        async def updated(old: Webhook, now: datetime) -> Webhook:
            new = replace(old, **given, version=old.version + 1, updated_at=now)
            return await self._checked(actor, new, old)

        return await self._change(actor, webhook_id, updated, version)

    async def enable(self, actor: Actor, webhook_id: str, *, version: Version = None) -> Webhook:
        """Enable a webhook: it receives events from now on. Do nothing if it is enabled.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        return await self._switch(actor, webhook_id, version, on=True)

    async def disable(self, actor: Actor, webhook_id: str, *, version: Version = None) -> Webhook:
        """Disable a webhook and give up its pending deliveries; do nothing if it is disabled.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        return await self._switch(actor, webhook_id, version, on=False)

    async def rotate(self, actor: Actor, webhook_id: str, *, version: Version = None) -> Webhook:
        """Give a webhook a new secret, and return it; the old secret signs for one more day.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        secret = new_secret()

        async def rotated(old: Webhook, now: datetime) -> Webhook:
            return old.rotated(secret, now)

        return await self._change(actor, webhook_id, rotated, version)

    async def delete(self, actor: Actor, webhook_id: str, *, version: Version = None) -> None:
        """Delete a webhook with its deliveries, including pending ones.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """

        async def delete() -> None:
            old = await self._changeable(actor, webhook_id, version)
            event = old.event(EventName.WEBHOOK_DELETED, self._clock.now(), actor.id)
            await self._store.webhooks.delete(webhook_id, old.version, event)

        await _insisted(delete)

    async def deletable(
        self, actor: Actor, webhook_id: str, *, version: Version = None
    ) -> tuple[Webhook, Mapping[DeliveryState, int]]:
        """Return the webhook that `delete` would delete, and how many deliveries go with it.

        Raises:
            NotFound, Forbidden, Stale: as for `delete`.
        """
        webhook = await self._changeable(actor, webhook_id, version)
        return webhook, await self._store.webhooks.deliveries(webhook.id)

    async def test(self, actor: Actor, webhook_id: str, *, version: Version = None) -> Webhook:
        """Send a test event to this webhook alone; return the webhook.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
            IllegalMove: the webhook is disabled.
        """

        async def tested(old: Webhook, now: datetime) -> Webhook:
            if not old.active:
                raise IllegalMove(f"webhook {webhook_id} is switched off; enable it first")
            return replace(old, version=old.version + 1, updated_at=now)

        return await self._change(actor, webhook_id, tested, version, EventName.WEBHOOK_TEST)

    async def deliveries(
        self,
        actor: Actor,
        webhook_id: str,
        state: DeliveryState | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """Return deliveries of a webhook with a key below *before*, newest first.

        Raises:
            NotFound: no such webhook, or it belongs to another user.
        """
        webhook = await self.get(actor, webhook_id)
        return await self._store.deliveries.find(webhook.id, state, before, limit)

    async def replay(
        self, actor: Actor, delivery_id: str, *, webhook_id: str | None = None
    ) -> Delivery:
        """Send a delivery once more, with the same id, and return it.

        Raises:
            NotFound: no such delivery, it belongs to another user, or not to *webhook_id*.
            Forbidden: as the name says.
            IllegalMove: its webhook is disabled, or its event has been deleted.
        """

        async def replay() -> Delivery:
            return await self._replay(actor, delivery_id, webhook_id)

        return await _insisted(replay)

    async def _replay(self, actor: Actor, delivery_id: str, webhook_id: str | None) -> Delivery:
        delivery = await self._store.deliveries.get(delivery_id)
        if webhook_id not in (None, delivery.webhook_id):
            raise NotFound(f"no delivery {delivery_id}")
        try:
            webhook = await self._changeable(actor, delivery.webhook_id)
        except NotFound:
            raise NotFound(f"no delivery {delivery_id}") from None
        if not webhook.active:
            raise IllegalMove(f"webhook {webhook.id} is switched off; enable it first")
        if await self._store.deliveries.events([delivery]) == [None]:
            raise IllegalMove(f"the event of delivery {delivery_id} has been deleted: it is old")
        return await self._store.deliveries.again(delivery_id, self._clock.now())

    async def _switch(
        self, actor: Actor, webhook_id: str, version: Version, *, on: bool
    ) -> Webhook:
        async def switched(old: Webhook, now: datetime) -> Webhook:
            reason = "" if on else f"{BY_HAND}{actor.id}"
            return old if old.active is on else old.switched(now, on=on, reason=reason)

        return await self._change(actor, webhook_id, switched, version)

    async def _change(
        self,
        actor: Actor,
        webhook_id: str,
        change: Callable[[Webhook, datetime], Awaitable[Webhook]],
        version: Version,
        name: EventName = EventName.WEBHOOK_UPDATED,
    ) -> Webhook:
        async def changed() -> Webhook:
            old = await self._changeable(actor, webhook_id, version)
            new = await change(old, self._clock.now())
            if new is not old:
                event = new.event(name, new.updated_at, actor.id)
                await self._store.webhooks.save(new, event)
            return new

        return await _insisted(changed)

    async def _changeable(self, actor: Actor, webhook_id: str, version: Version = None) -> Webhook:
        webhook = await self.get(actor, webhook_id)
        if not actor.may_change(webhook.owner):
            raise Forbidden(f"{actor.id} may look at webhook {webhook_id}, not change it")
        check_version(f"webhook {webhook_id}", webhook.version, version)
        return webhook

    async def _checked(
        self, actor: Actor, webhook: Webhook, before: Webhook | None = None
    ) -> Webhook:
        """Check a webhook; return it with its URL in canonical form.

        Its URL and grants are checked only if the URL or addresses differ from *before*.
        """
        check_patterns(webhook.events, kind="" if webhook.job_id is None else "job")
        if len(webhook.description) > MAX_DESCRIPTION:
            got = len(webhook.description)
            raise Invalid("description", f"expected at most {MAX_DESCRIPTION} letters, got {got}")
        if before is not None and _target(webhook) == _target(before):
            return webhook
        needed = () if actor.vouches_for(webhook.owner) else _needed(webhook)
        by_grant = needed if self._grants is None else ()
        if self._grants is None:
            await self._policy.check_granted(needed)
        elif missing := withheld(needed, self._grants):
            raise Forbidden(not_granted(missing))
        url = await receiver(webhook.url, Guard(webhook.allow_addresses), self._resolve)
        return replace(webhook, url=url, by_grant=by_grant)


def _needed(webhook: Webhook) -> tuple[Grant, ...]:
    return (Grant.ADDRESSES,) if webhook.allow_addresses else ()


def _target(webhook: Webhook) -> tuple[str, tuple[str, ...]]:
    return webhook.url, webhook.allow_addresses


async def _insisted(work: Callable[[], Awaitable[T]]) -> T:
    """Run *work*, which reads and then writes, again each time it loses a race.

    Raises:
        Conflict: it lost too many races.
        Stale: the version that it is meant for is no longer current.
    """
    for _ in range(_TRIES - 1):
        try:
            return await work()
        except Stale:
            raise
        except Conflict:
            continue
    return await work()
