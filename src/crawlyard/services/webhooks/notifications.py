"""Notification channels: messages about crawls to people, for one user."""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from crawlyard.core.access.user import Role
from crawlyard.core.endpoints.endpoint import (
    LONGEST_REF,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Owner,
    Slice,
    endpoint,
    make_slice,
)
from crawlyard.core.events.event import EventName, names_of, topics_for
from crawlyard.core.fields import SECRET
from crawlyard.core.schedules.timetable import zone_of
from crawlyard.core.templates.template import is_id
from crawlyard.core.webhooks.answers import DeliveryOut, NotificationOut
from crawlyard.core.webhooks.channel_names import CHANNEL_NAME
from crawlyard.core.webhooks.notifications import (
    DIGEST_S,
    EVENTS_OF,
    LEAST_DIGEST_S,
    MOST_DIGEST_S,
    NotificationRules,
    Occasion,
    parse_hours,
)
from crawlyard.core.webhooks.webhook import (
    MAILTO,
    DeliveryState,
    MessageFormat,
    Webhook,
)
from crawlyard.errors import Forbidden, Invalid, NotFound, Version, check_version
from crawlyard.ids import new_id
from crawlyard.services.noun import Noun
from crawlyard.services.races import retry_on_race
from crawlyard.services.webhooks.webhooks import READ, WRITE, Addresses, Webhooks, check_target
from crawlyard.store.queries import WebhookQuery

_ADDRESS = re.compile(r"[^\s@<>,;:\"()\\\[\]]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_SHOWN = 4  # characters of a URL

_EXAMPLE = {
    "name": "ops",
    "kind": "ntfy",
    "to": "https://hooks.example.org/crawls",
    "on": ["failed", "logged_out"],
}

Kind = Literal["slack", "discord", "ntfy", "teams", "mail"]
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=f"^{CHANNEL_NAME}$",
        description="Unique among your channels.",
        examples=["ops"],
    ),
]
Ref = Annotated[str, Meta(max_length=LONGEST_REF, description="Id or name of a channel.")]
To = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_000,
        description="The URL of the channel, stored encrypted; for `mail`, an address.",
    ),
    SECRET,
]
On = Annotated[
    tuple[Occasion, ...],
    Meta(min_length=1, max_length=len(Occasion), description="Kinds of events to send."),
]
QuietHours = Annotated[
    str,
    Meta(
        max_length=11,
        description="Hours without messages; what happens in them is sent afterwards.",
        examples=["22:00-07:00"],
    ),
]
Zone = Annotated[str, Meta(max_length=64, description="Time zone of the quiet hours.")]
Digest = Annotated[
    float,
    Meta(
        ge=LEAST_DIGEST_S,
        le=MOST_DIGEST_S,
        description="Shortest time between two messages; what happens in it is one message.",
    ),
]
NamedOnly = Annotated[
    bool, Meta(description="Only events of jobs whose spec has the channel in `notify`.")
]


class Notifications(Noun):
    """Creates, finds, changes, tests and deletes notification channels for one user.

    A channel is a webhook with a format for people, so it has the same deliveries. It receives
    only events of what its owner owns.
    """

    @endpoint("GET /notifications", READ, "seq")
    async def list(
        self, *, owner: Owner | None = None, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[NotificationOut]:
        """List your channels, for an admin all channels, newest first."""
        me, is_admin = self._actor.id, self._actor.role is Role.ADMIN
        if owner not in (None, "me", me) and not is_admin:
            return Slice(items=[])
        query = WebhookQuery(
            owner=me if owner == "me" or not is_admin else owner, channels=True, before=cursor
        )
        channels = await self._services.store.webhooks.find(query, limit + 1)
        return make_slice(channels, limit, NotificationOut.of, lambda channel: channel.id)

    @endpoint("POST /notifications", WRITE, status=201, example=_EXAMPLE)
    async def create(
        self,
        name: Name,
        kind: Kind,
        to: To,
        *,
        on: On = tuple(Occasion),
        quiet_hours: QuietHours = "",
        zone: Zone = "UTC",
        digest_s: Digest = DIGEST_S,
        named_only: NamedOnly = False,
        allow_addresses: Addresses = (),
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> NotificationOut:
        """Create a channel; its URL is stored encrypted and never shown again."""
        actor, now = self._actor, self._services.clock.now()
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view notification channels, but not create them")
        rules = NotificationRules(
            on=tuple(map(Occasion, on)),
            quiet_hours=quiet_hours,
            zone=zone,
            digest_s=digest_s,
            named_only=named_only,
        )
        draft = Webhook(
            id=new_id(),
            owner=actor.id,
            url=to,
            format=MessageFormat(kind),
            name=name,
            secrets=(),
            allow_addresses=tuple(allow_addresses),
            created_at=now,
            updated_at=now,
        )
        channel = await self._with_target(self._with_rules(draft, rules))
        event = channel.event(EventName.WEBHOOK_CREATED, now, actor.id)
        await self._services.store.webhooks.add(channel, event)
        return NotificationOut.of(channel)

    @endpoint("GET /notifications/{ref}", READ)
    async def get(self, ref: Ref) -> NotificationOut:
        """Return a channel, without its URL."""
        return NotificationOut.of(await self._get(ref))

    @endpoint("PATCH /notifications/{ref}", WRITE, example={"quiet_hours": "22:00-07:00"})
    async def edit(
        self,
        ref: Ref,
        *,
        to: To | UnsetType = UNSET,
        on: On | UnsetType | None = UNSET,
        quiet_hours: QuietHours | UnsetType | None = UNSET,
        zone: Zone | UnsetType | None = UNSET,
        digest_s: Digest | UnsetType | None = UNSET,
        named_only: NamedOnly | UnsetType | None = UNSET,
        allow_addresses: Addresses | UnsetType | None = UNSET,
        version: IfMatch = None,
    ) -> NotificationOut:
        """Change a channel: absent fields stay, null sets the default."""
        fields: dict[str, Any] = {
            "on": on and tuple(map(Occasion, on)),
            "quiet_hours": quiet_hours,
            "zone": zone,
            "digest_s": digest_s,
            "named_only": named_only,
        }
        default = NotificationRules()
        changes = {
            name: getattr(default, name) if value is None else value
            for name, value in fields.items()
            if value is not UNSET
        }

        async def edit(old: Webhook, now: datetime) -> Webhook:
            new = replace(old, version=old.version + 1, updated_at=now)
            new = self._with_rules(new, replace(old.rules or default, **changes))
            if allow_addresses is not UNSET:
                new = replace(new, allow_addresses=tuple(allow_addresses or ()))
            if to is not UNSET:
                return await self._with_target(replace(new, url=to))
            if new.allow_addresses != old.allow_addresses:
                message = "expected `to` as well: addresses are allowed for one URL"
                raise Invalid("allow_addresses", message)
            return new

        return NotificationOut.of(await self._change(ref, edit, version))

    @endpoint("DELETE /notifications/{ref}", WRITE, status=204)
    async def delete(self, ref: Ref, *, version: IfMatch = None) -> None:
        """Delete a channel with its deliveries, including the pending ones."""
        channel = await self._get(ref)
        await self._webhooks.delete(channel.id, version=version)

    @endpoint("POST /notifications/{ref}/test", WRITE, status=202)
    async def test(
        self,
        ref: Ref,
        *,
        version: IfMatch = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> NotificationOut:
        """Send a test message, also in quiet hours; its delivery has the answer."""
        channel = await self._get(ref)
        await self._webhooks.test(channel.id, version=version)
        return await self.get(channel.id)

    @endpoint("POST /notifications/{ref}/enable", WRITE, status=202)
    async def enable(self, ref: Ref, *, version: IfMatch = None) -> NotificationOut:
        """Enable a channel: it receives events from now on."""
        channel = await self._get(ref)
        await self._webhooks.enable(channel.id, version=version)
        return await self.get(channel.id)

    @endpoint("POST /notifications/{ref}/disable", WRITE, status=202)
    async def disable(self, ref: Ref, *, version: IfMatch = None) -> NotificationOut:
        """Disable a channel: its pending deliveries are given up."""
        channel = await self._get(ref)
        await self._webhooks.disable(channel.id, version=version)
        return await self.get(channel.id)

    @endpoint("GET /notifications/{ref}/deliveries", READ)
    async def deliveries(
        self,
        ref: Ref,
        *,
        state: DeliveryState | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[DeliveryOut]:
        """List the events sent to a channel, newest first; those of one message have its answer."""
        channel = await self._get(ref)
        return await self._webhooks.deliveries(channel.id, state=state, limit=limit, cursor=cursor)

    @property
    def _webhooks(self) -> Webhooks:
        permits = self._permits if self._limited else None
        return Webhooks(self._services, self._actor, permits, self._caller)

    async def _get(self, ref: str) -> Webhook:
        store = self._services.store.webhooks
        if is_id(ref):
            channel = await store.get(ref.lower())
            if channel.name and self._actor.may_see(channel.owner):
                return channel
            raise NotFound(f"no notification channel {ref}")
        query = WebhookQuery(owner=self._actor.id, name=ref, channels=True)
        for channel in await store.find(query, 1):
            return channel
        raise NotFound(f"there is no notification channel {ref}")

    async def _change(
        self,
        ref: str,
        change: Callable[[Webhook, datetime], Awaitable[Webhook]],
        version: Version,
    ) -> Webhook:
        async def changed() -> Webhook:
            old = await self._get(ref)
            if not self._actor.may_change(old.owner):
                message = f"{self._actor.id} may view notification channel {ref}, but not change it"
                raise Forbidden(message)
            check_version(f"notification channel {ref}", old.version, version)
            new = await change(old, self._services.clock.now())
            event = new.event(EventName.WEBHOOK_UPDATED, new.updated_at, self._actor.id)
            await self._services.store.webhooks.save(new, event)
            return new

        return await retry_on_race(changed, f"notification channel {ref} keeps changing")

    def _with_rules(self, channel: Webhook, rules: NotificationRules) -> Webhook:
        """Return *channel* with *rules*, checked, and the events that they need."""
        if rules.quiet_hours:
            parse_hours(rules.quiet_hours)
        zone_of(rules.zone)
        events = tuple(dict.fromkeys(name for each in rules.on for name in EVENTS_OF[each]))
        unreadable = set(events) - names_of(topics_for(self._permits, limited=self._limited))
        if unreadable:
            names = ", ".join(sorted(unreadable))
            message = f"expected events that the token has a scope to read, got {names}"
            raise Invalid("on", message)
        return replace(channel, rules=rules, events=events)

    async def _with_target(self, channel: Webhook) -> Webhook:
        """Return *channel* with its URL checked and sealed."""
        if channel.format is MessageFormat.MAIL:
            return replace(channel, url=self._mailto(channel.url), sealed=None)
        try:
            checked = await check_target(channel, self._services, self._actor)
        except Invalid as error:
            raise error.map(_rename_field) from None
        seal = await self._services.seal()
        scheme, _, rest = checked.url.partition("://")
        masked = f"{scheme}://{checked.receiver}/…{rest.removeprefix(checked.receiver)[-_SHOWN:]}"
        return replace(checked, url=masked, sealed=seal.seal(checked.url.encode()))

    def _mailto(self, address: str) -> str:
        settings = self._services.settings
        if not (settings.smtp_url and settings.mail_from):
            raise Invalid("kind", "mail is not set up: an admin sets smtp_url and mail_from")
        if _ADDRESS.fullmatch(address) is None:
            raise Invalid("to", "expected one mail address, such as ops@example.org")
        return f"{MAILTO}{address}"


def _rename_field(fault: Invalid) -> Invalid:
    return Invalid("to", fault.message) if fault.field == "url" else fault
