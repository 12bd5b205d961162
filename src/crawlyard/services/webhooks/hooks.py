"""Webhooks, as one user makes, finds, changes and tries them."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.webhooks import (
    DeliveryOut,
    NewSecretOut,
    WebhookDeletionOut,
    WebhookOut,
)
from crawlyard.core.endpoint import (
    Cursor,
    IfMatch,
    Limit,
    Owner,
    Slice,
    Word,
    endpoint,
    reply,
    sliced,
)
from crawlyard.core.webhooks.webhook import (
    EVERYTHING,
    MAX_DESCRIPTION,
    MAX_PATTERNS,
    DeliveryState,
    Webhook,
)
from crawlyard.services.noun import Noun
from crawlyard.store.queries import WebhookQuery

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
Addresses = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=300)], ...],
    Meta(max_length=50, description="Opened beside public ones, where the yard grants it."),
]


class Hooks(Noun):
    """Makes, finds, changes, tries and deletes webhooks, as far as one user may.

    A webhook that they may not see raises `NotFound`. With *version*, only that version is
    changed: else `Stale` is raised and nothing is written.
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
                "of jobs are found as well."
            ),
        ] = "",
        owner: Owner | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[WebhookOut]:
        """List your webhooks, an admin's all, newest first; their secrets are not shown."""
        query = WebhookQuery(
            owner=self._actor.id if owner == "me" else owner,
            job_id=None if id and not job else job,
            before=cursor,
            id_part=id,
        )
        hidden = query.owner is not None and not self._actor.may_see(query.owner)
        webhooks = self._services.webhooks
        found = [] if hidden else await webhooks.find(self._actor, query, limit + 1)
        return sliced(found, limit, WebhookOut.of, lambda one: one.id)

    @endpoint("POST /webhooks", WRITE, status=201, example=_EXAMPLE)
    async def create(
        self,
        url: URL,
        *,
        events: Patterns = (EVERYTHING,),
        description: Description = "",
        allow_addresses: Addresses = (),
    ) -> NewSecretOut:
        """Make a webhook; the secret that signs its messages is in this answer and nowhere else."""
        webhook = await self._services.webhooks.create(
            self._actor,
            url,
            events=events,
            description=description,
            allow_addresses=allow_addresses,
        )
        return NewSecretOut.of(webhook)

    @endpoint("GET /webhooks/{webhook_id}", READ)
    async def get(self, webhook_id: str) -> WebhookOut:
        """Return a webhook without its secrets."""
        return WebhookOut.of(await self._services.webhooks.get(self._actor, webhook_id))

    @endpoint("PATCH /webhooks/{webhook_id}", WRITE, example={"description": "to the team's chat"})
    async def edit(
        self,
        webhook_id: str,
        *,
        url: URL | UnsetType = UNSET,
        events: Patterns | UnsetType | None = UNSET,
        description: Description | UnsetType | None = UNSET,
        allow_addresses: Addresses | UnsetType | None = UNSET,
        version: IfMatch = None,
    ) -> WebhookOut:
        """Change a webhook: what is absent stays, null sets the default."""
        asked: dict[str, Any] = {
            "url": url,
            "events": (EVERYTHING,) if events is None else events,
            "description": "" if description is None else description,
            "allow_addresses": () if allow_addresses is None else allow_addresses,
        }
        given = {name: value for name, value in asked.items() if value is not UNSET}
        return WebhookOut.of(
            await self._services.webhooks.update(self._actor, webhook_id, **given, version=version)
        )

    @endpoint("DELETE /webhooks/{webhook_id}", WRITE, status=204)
    async def delete(self, webhook_id: str, *, version: IfMatch = None) -> None:
        """Delete a webhook with its deliveries, also those that wait."""
        await self._services.webhooks.delete(self._actor, webhook_id, version=version)

    @endpoint("GET /webhooks/{webhook_id}/deletion", WRITE)
    async def deletable(self, webhook_id: str, *, version: IfMatch = None) -> WebhookDeletionOut:
        """Return what deleting a webhook would delete, or refuse as that would be."""
        return WebhookDeletionOut.of(
            *await self._services.webhooks.deletable(self._actor, webhook_id, version=version)
        )

    @endpoint("POST /webhooks/{webhook_id}/test", WRITE, status=202)
    async def test(self, webhook_id: str, *, version: IfMatch = None) -> WebhookOut:
        """Let a test event be delivered to a webhook, and to no other."""
        return WebhookOut.of(
            await self._services.webhooks.test(self._actor, webhook_id, version=version)
        )

    @endpoint("POST /webhooks/{webhook_id}/rotate", WRITE, status=202)
    async def rotate(self, webhook_id: str, *, version: IfMatch = None) -> NewSecretOut:
        """Make a new secret, shown in this answer alone; the one before signs for a day more."""
        return NewSecretOut.of(
            await self._services.webhooks.rotate(self._actor, webhook_id, version=version)
        )

    @endpoint("POST /webhooks/{webhook_id}/enable", WRITE, status=202)
    async def enable(self, webhook_id: str, *, version: IfMatch = None) -> WebhookOut:
        """Switch a webhook on: it hears of what happens from now on."""
        manager = self._services.webhooks
        old = await manager.get(self._actor, webhook_id)
        return _moved(old, await manager.enable(self._actor, webhook_id, version=version))

    @endpoint("POST /webhooks/{webhook_id}/disable", WRITE, status=202)
    async def disable(self, webhook_id: str, *, version: IfMatch = None) -> WebhookOut:
        """Switch a webhook off: what waits for it is given up."""
        manager = self._services.webhooks
        old = await manager.get(self._actor, webhook_id)
        return _moved(old, await manager.disable(self._actor, webhook_id, version=version))

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
        before = int(cursor) if cursor else None
        found = await self._services.webhooks.deliveries(
            self._actor, webhook_id, state, before, limit + 1
        )
        return sliced(found, limit, DeliveryOut.of, lambda one: one.no)

    @endpoint("POST /webhooks/{webhook_id}/deliveries/{delivery_id}/replay", WRITE, status=202)
    async def replay(self, webhook_id: str, delivery_id: str) -> DeliveryOut:
        """Let a delivery be made once more, under the same message id.

        With `-` as the webhook, whichever it is of.
        """
        of = None if webhook_id == _WHICHEVER else webhook_id
        return DeliveryOut.of(
            await self._services.webhooks.replay(self._actor, delivery_id, webhook_id=of)
        )


def _moved(old: Webhook, new: Webhook) -> WebhookOut:
    reply().unchanged = old.active is new.active
    return WebhookOut.of(new)
