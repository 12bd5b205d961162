"""Webhooks: creation, search, changes and tests, for one user."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from crawlyard.core.access.user import Actor, Grant, Permit, Role
from crawlyard.core.endpoints.endpoint import (
    LONGEST_REF,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Owner,
    Slice,
    Word,
    endpoint,
    make_slice,
    reply,
)
from crawlyard.core.events.event import EventName, names_of, topics_for
from crawlyard.core.webhooks.answers import (
    DeliveryOut,
    NewSecretOut,
    WebhookDeletionOut,
    WebhookOut,
)
from crawlyard.core.webhooks.webhook import (
    BY_HAND,
    EVERYTHING,
    MAX_DESCRIPTION,
    MAX_PATTERNS,
    OF_A_JOB,
    Delivery,
    DeliveryState,
    Secret,
    Webhook,
    check_patterns,
    narrow_patterns,
)
from crawlyard.engine.http import guard
from crawlyard.errors import Forbidden, IllegalMove, Invalid, NotFound, Version, check_version
from crawlyard.ids import new_id
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun
from crawlyard.services.races import retry_on_race
from crawlyard.services.schedules.lookup import find_schedule
from crawlyard.store.queries import WebhookQuery

# they load the engine
with lazily():
    from crawlyard.services.webhooks import receivers, signing

if TYPE_CHECKING:
    from crawlyard.services.services import Services

READ, WRITE = Permit.WEBHOOKS_READ, Permit.WEBHOOKS_WRITE

_WHICHEVER = "-"
_EXAMPLE = {
    "url": "https://hooks.example.org/crawls",
    "events": ["job.completed", "job.failed"],
}

URL = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_000,
        description="https, unless its address is opened.",
        examples=["https://hooks.example.org/crawls"],
    ),
]
Patterns = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
    Meta(
        min_length=1,
        max_length=MAX_PATTERNS,
        description="Names, or patterns such as `job.*`.",
        examples=[["job.completed", "job.failed"]],
    ),
]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION)]
OfSchedule = Annotated[
    str,
    Meta(
        max_length=LONGEST_REF,
        description="A schedule of the same owner: only of it and its runs. Null: of everything.",
    ),
]
Addresses = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=300)], ...],
    Meta(max_length=50, description="Opened beside public ones, where the yard grants it."),
]


class Webhooks(Noun):
    """Creates, finds, changes, tests and deletes webhooks for one user.

    A webhook that they may not see raises `NotFound`, and one that they may not change `Forbidden`.
    With *version*, the change is made only if that version is current; otherwise `Stale` is raised.
    A webhook only receives events of what its owner owns, even if the owner is an admin. A token
    with scopes can only create webhooks for events that the token may read.
    """

    @endpoint("GET /webhooks", READ, "seq")
    async def list(
        self,
        *,
        job: Annotated[
            str, Meta(max_length=64, description="Those of this job; empty: those of none.")
        ] = "",
        id: Annotated[  # noqa: A002 - the name of the parameter
            Word,
            Meta(
                description="A whole id, or what one begins or ends with. Without `job`, webhooks "
                "of jobs and notification channels are found as well."
            ),
        ] = "",
        owner: Owner | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[WebhookOut]:
        """List your webhooks, for an admin all webhooks, newest first; secrets are not shown."""
        me = self._actor.id
        if owner not in (None, "me", me) and self._actor.role is not Role.ADMIN:
            return Slice(items=[])
        query = WebhookQuery(
            owner=me if owner == "me" or self._actor.role is not Role.ADMIN else owner,
            job_id=None if id and not job else job,
            channels=None if id else False,
            before=cursor,
            id_part=id,
        )
        webhooks = await self._services.store.webhooks.find(query, limit + 1)
        return make_slice(webhooks, limit, WebhookOut.of, lambda webhook: webhook.id)

    @endpoint("POST /webhooks", WRITE, status=201, example=_EXAMPLE)
    async def create(
        self,
        url: URL,
        *,
        events: Patterns = (EVERYTHING,),
        description: Description = "",
        allow_addresses: Addresses = (),
        schedule: OfSchedule | None = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> NewSecretOut:
        """Create a webhook; the secret that signs its messages is only in this response."""
        actor, now = self._actor, self._services.clock.now()
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view webhooks, but not create them")
        draft = Webhook(
            id=new_id(),
            owner=actor.id,
            url=url,
            description=description,
            events=tuple(events),
            secrets=(Secret(value=signing.new_secret()),),
            allow_addresses=tuple(allow_addresses),
            schedule_id=await self._schedule_id(schedule, actor.id),
            created_at=now,
            updated_at=now,
        )
        webhook = await self._check(self._limit_to_readable(draft))
        event = webhook.event(EventName.WEBHOOK_CREATED, now, actor.id)
        await self._services.store.webhooks.add(webhook, event)
        return NewSecretOut.of(webhook)

    @endpoint("GET /webhooks/{webhook_id}", READ)
    async def get(self, webhook_id: str) -> WebhookOut:
        """Return a webhook without its secrets."""
        return WebhookOut.of(await self._get(webhook_id))

    @endpoint("PATCH /webhooks/{webhook_id}", WRITE, example={"description": "to the team's chat"})
    async def edit(
        self,
        webhook_id: str,
        *,
        url: URL | UnsetType = UNSET,
        events: Patterns | UnsetType | None = UNSET,
        description: Description | UnsetType | None = UNSET,
        allow_addresses: Addresses | UnsetType | None = UNSET,
        schedule: OfSchedule | UnsetType | None = UNSET,
        version: IfMatch = None,
    ) -> WebhookOut:
        """Change a webhook: absent fields stay, null sets the default."""
        fields: dict[str, Any] = {
            "url": url,
            "events": (EVERYTHING,) if events is None else events,
            "description": "" if description is None else description,
            "allow_addresses": () if allow_addresses is None else allow_addresses,
        }
        changes = {
            name: value if isinstance(value, str) else tuple(value)
            for name, value in fields.items()
            if value is not UNSET
        }

        async def edit(old: Webhook, now: datetime) -> Webhook:
            _check_program(old)
            new = replace(old, **changes, version=old.version + 1, updated_at=now)
            if schedule is not UNSET:
                new = replace(new, schedule_id=await self._schedule_id(schedule, old.owner))
            if "events" in changes:
                new = self._limit_to_readable(new)
            elif _target(new) != _target(old):
                self._check_readable(new)
            return await self._check(new, old)

        return WebhookOut.of(await self._change(webhook_id, edit, version))

    @endpoint("DELETE /webhooks/{webhook_id}", WRITE, status=204)
    async def delete(self, webhook_id: str, *, version: IfMatch = None) -> None:
        """Delete a webhook with its deliveries, including the pending ones."""

        async def delete() -> None:
            old = await self._changeable(webhook_id, version)
            now = self._services.clock.now()
            event = old.event(EventName.WEBHOOK_DELETED, now, self._actor.id)
            await self._services.store.webhooks.delete(webhook_id, old.version, event)

        await retry_on_race(delete, f"webhook {webhook_id} keeps changing")

    @endpoint("GET /webhooks/{webhook_id}/deletion", WRITE)
    async def deletable(self, webhook_id: str, *, version: IfMatch = None) -> WebhookDeletionOut:
        """Check that a webhook can be deleted, and return it."""
        webhook = await self._changeable(webhook_id, version)
        deliveries = await self._services.store.webhooks.deliveries(webhook.id)
        return WebhookDeletionOut.of(webhook, deliveries)

    @endpoint("POST /webhooks/{webhook_id}/test", WRITE, status=202)
    async def test(
        self,
        webhook_id: str,
        *,
        version: IfMatch = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> WebhookOut:
        """Send a test event to a webhook."""

        async def mark_tested(old: Webhook, now: datetime) -> Webhook:
            _check_active(old)
            return replace(old, version=old.version + 1, updated_at=now)

        name = EventName.WEBHOOK_TEST
        return WebhookOut.of(await self._change(webhook_id, mark_tested, version, name))

    @endpoint("POST /webhooks/{webhook_id}/rotate", WRITE, status=202)
    async def rotate(self, webhook_id: str, *, version: IfMatch = None) -> NewSecretOut:
        """Create a new secret, only in this response; the previous one signs for another day."""
        secret = signing.new_secret()

        async def rotated(old: Webhook, now: datetime) -> Webhook:
            _check_program(old)
            return old.rotate_secret(secret, now)

        return NewSecretOut.of(await self._change(webhook_id, rotated, version))

    @endpoint("POST /webhooks/{webhook_id}/enable", WRITE, status=202)
    async def enable(self, webhook_id: str, *, version: IfMatch = None) -> WebhookOut:
        """Enable a webhook: it receives events from now on."""
        return await self._switch(webhook_id, version, on=True)

    @endpoint("POST /webhooks/{webhook_id}/disable", WRITE, status=202)
    async def disable(self, webhook_id: str, *, version: IfMatch = None) -> WebhookOut:
        """Disable a webhook: its pending deliveries are given up."""
        return await self._switch(webhook_id, version, on=False)

    @endpoint("GET /webhooks/{webhook_id}/deliveries", READ)
    async def deliveries(
        self,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[DeliveryOut]:
        """List deliveries of a webhook with their attempts, newest first."""
        webhook, before = await self._get(webhook_id), int(cursor) if cursor else None
        deliveries = self._services.store.deliveries
        rows = await deliveries.find(webhook.id, state, before, limit + 1)
        return make_slice(rows, limit, DeliveryOut.of, lambda delivery: delivery.no)

    @endpoint("POST /webhooks/{webhook_id}/deliveries/{delivery_id}/replay", WRITE, status=202)
    async def replay(
        self,
        webhook_id: str,
        delivery_id: str,
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> DeliveryOut:
        """Send a delivery again, with the same message id.

        Pass `-` as the webhook to find the delivery by its id alone.
        """
        deliveries = self._services.store.deliveries

        async def replay() -> Delivery:
            delivery = await deliveries.get(delivery_id)
            if webhook_id not in (_WHICHEVER, delivery.webhook_id):
                raise NotFound(f"no delivery {delivery_id}")
            try:
                webhook = await self._changeable(delivery.webhook_id)
            except NotFound:
                raise NotFound(f"no delivery {delivery_id}") from None
            _check_active(webhook)
            if delivery.page_id is None and await deliveries.events([delivery]) == [None]:
                problem = f"the event of delivery {delivery_id} was deleted after its retention"
                raise IllegalMove(problem)
            return await deliveries.again(delivery_id, self._services.clock.now())

        return DeliveryOut.of(await retry_on_race(replay, f"delivery {delivery_id} keeps changing"))

    async def _get(self, webhook_id: str) -> Webhook:
        webhook = await self._services.store.webhooks.get(webhook_id)
        if not self._actor.may_see(webhook.owner):
            raise NotFound(f"no webhook {webhook_id}")
        return webhook

    def _limit_to_readable(self, webhook: Webhook) -> Webhook:
        """Return *webhook* limited to the events that the actor's credential may read.

        Raises:
            Invalid: it may read none of them.
        """
        check_patterns(webhook.events)
        events = narrow_patterns(webhook.events, self._readable_events)
        if not events:
            names = ", ".join(webhook.events)
            message = f"expected events that the token has a scope to read, got {names}"
            raise Invalid("events", message)
        return replace(webhook, events=events)

    def _check_readable(self, webhook: Webhook) -> None:
        """Check that the actor's credential may read all events of a webhook.

        Raises:
            Forbidden: it may not.
        """
        if narrow_patterns(webhook.events, self._readable_events) != webhook.events:
            names = ", ".join(webhook.events)
            message = (
                f"the webhook receives events ({names}) that the token has no scope to read:"
                " it may not send them elsewhere"
            )
            raise Forbidden(message)

    @property
    def _readable_events(self) -> frozenset[EventName]:
        return names_of(topics_for(self._permits, limited=self._limited))

    async def _schedule_id(self, ref: str | None, owner: str) -> str | None:
        if ref is None:
            return None
        try:
            schedule = await find_schedule(self._services.store, self._actor, ref)
        except NotFound as error:
            raise Invalid("schedule", str(error)) from None
        if schedule.owner != owner:
            raise Invalid("schedule", f"expected one of {owner}, got one of {schedule.owner}")
        return schedule.id

    async def _changeable(self, webhook_id: str, version: Version = None) -> Webhook:
        webhook = await self._get(webhook_id)
        if not self._actor.may_change(webhook.owner):
            raise Forbidden(f"{self._actor.id} may view webhook {webhook_id}, but not change it")
        check_version(f"webhook {webhook_id}", webhook.version, version)
        return webhook

    async def _switch(self, webhook_id: str, version: Version, *, on: bool) -> WebhookOut:
        async def switched(old: Webhook, now: datetime) -> Webhook:
            reply().unchanged = old.active is on
            reason = "" if on else f"{BY_HAND}{self._actor.id}"
            return old if old.active is on else old.switch(now, on=on, reason=reason)

        return WebhookOut.of(await self._change(webhook_id, switched, version))

    async def _change(
        self,
        webhook_id: str,
        change: Callable[[Webhook, datetime], Awaitable[Webhook]],
        version: Version,
        name: EventName = EventName.WEBHOOK_UPDATED,
    ) -> Webhook:
        async def changed() -> Webhook:
            old = await self._changeable(webhook_id, version)
            new = await change(old, self._services.clock.now())
            if new is not old:
                event = new.event(name, new.updated_at, self._actor.id)
                await self._services.store.webhooks.save(new, event)
            return new

        return await retry_on_race(changed, f"webhook {webhook_id} keeps changing")

    async def _check(self, webhook: Webhook, before: Webhook | None = None) -> Webhook:
        """Check a webhook; return it with its URL in canonical form.

        Its URL and grants are checked only if the URL or addresses differ from *before*.
        """
        check_patterns(webhook.events, kinds=() if webhook.job_id is None else OF_A_JOB)
        if len(webhook.description) > MAX_DESCRIPTION:
            length = len(webhook.description)
            raise Invalid(
                "description", f"expected at most {MAX_DESCRIPTION} letters, got {length}"
            )
        if before is not None and _target(webhook) == _target(before):
            return webhook
        return await check_target(webhook, self._services, self._actor)


async def check_target(webhook: Webhook, services: "Services", actor: Actor) -> Webhook:
    """Check the URL and addresses of a webhook; return it with its URL in canonical form.

    Raises:
        Invalid: messages may not be sent to the URL; see `receivers.receiver`.
    """
    vouched = not webhook.allow_addresses or actor.vouches_for(webhook.owner)
    needed = () if vouched else (Grant.ADDRESSES,)
    await services.policy.check_granted(needed)
    opened = guard.Guard(webhook.allow_addresses)
    url = await receivers.receiver(webhook.url, opened, services.resolve)
    return replace(webhook, url=url, by_grant=needed)


def _check_program(webhook: Webhook) -> None:
    if webhook.name:
        message = f"{webhook.id} is the notification channel {webhook.name}; change it as such"
        raise IllegalMove(message)


def _target(webhook: Webhook) -> tuple[str, tuple[str, ...]]:
    return webhook.url, webhook.allow_addresses


def _check_active(webhook: Webhook) -> None:
    if not webhook.active:
        raise IllegalMove(f"webhook {webhook.id} is switched off; enable it first")
