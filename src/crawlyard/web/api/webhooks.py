"""Webhooks: who hears of what, and what became of each delivery."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.deletions import WebhookDeletionOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.core.answers.webhooks.webhooks import DeliveryOut, NewSecretOut, WebhookOut
from crawlyard.core.webhooks.webhook import DeliveryState, Webhook
from crawlyard.errors import NotFound
from crawlyard.store.queries import WebhookQuery
from crawlyard.web.asking import ReadsWebhooks, SiteOf, WritesWebhooks
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import expected_version, tag_of, unchanged
from crawlyard.web.live.begin import BEGINS_STREAM
from crawlyard.web.paging import Pages
from crawlyard.web.rehearsing import DryRun, told, would
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.webhooks.webhook_asks import WebhookAsk, WebhookPatch

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=Route)

_WHICHEVER = "-"


@router.get("", responses=problems(401, 403, 422), dependencies=[BEGINS_STREAM])
async def list_(
    actor: ReadsWebhooks,
    site: SiteOf,
    pages: Pages,
    job: Annotated[
        str, Query(max_length=64, description="Those of this job; empty: those of none.")
    ] = "",
    owner: Annotated[str | None, Query(max_length=64, description="`me`, or a user.")] = None,
) -> ListOut[WebhookOut]:
    """List your webhooks, an admin's all, newest first; their secrets are not shown."""
    query = WebhookQuery(
        owner=actor.id if owner == "me" else owner,
        job_id=job,
        before=str(pages.position[0]) if pages.position else None,
    )
    hidden = query.owner is not None and not actor.may_see(query.owner)
    found = [] if hidden else await site.yard.webhooks.find(actor, query, pages.more)
    return pages.page(found, WebhookOut.of, lambda one: [one.id])


@router.post("", status_code=201, responses=problems(401, 403, 422))
async def create(
    ask: WebhookAsk, actor: WritesWebhooks, site: SiteOf, response: Response
) -> NewSecretOut:
    """Make a webhook; the secret that signs its messages is in this answer and nowhere else."""
    webhook = await site.yard.webhooks.create(
        actor,
        ask.url,
        events=ask.events,
        description=ask.description,
        allow_addresses=ask.allow_addresses,
    )
    response.headers["Location"] = f"/api/v1/webhooks/{webhook.id}"
    response.headers["ETag"] = tag_of(webhook.version)
    return NewSecretOut.of(webhook)


@router.get(
    "/{webhook_id}", response_model=WebhookOut, responses=problems(401, 403, 404) | NOT_MODIFIED
)
async def get(
    webhook_id: str, actor: ReadsWebhooks, site: SiteOf, request: Request, response: Response
) -> WebhookOut | Response:
    """Return a webhook without its secrets."""
    webhook = await site.yard.webhooks.get(actor, webhook_id)
    return unchanged(request, response, tag_of(webhook.version)) or WebhookOut.of(webhook)


@router.patch("/{webhook_id}", responses=problems(401, 403, 404, 409, 412, 422))
async def patch(
    webhook_id: str,
    ask: WebhookPatch,
    actor: WritesWebhooks,
    site: SiteOf,
    request: Request,
    response: Response,
) -> WebhookOut:
    """Change a webhook: what is absent stays, null sets the default."""
    _, version = await _guarded(site, actor, webhook_id, request)
    changes = ask.changes()
    webhook = await site.yard.webhooks.update(actor, webhook_id, **changes, version=version)
    return _out(webhook, response)


@router.delete(
    "/{webhook_id}",
    status_code=204,
    response_model=None,
    responses=problems(401, 403, 404, 409, 412) | would(WebhookDeletionOut),
)
async def delete(
    webhook_id: str,
    actor: WritesWebhooks,
    site: SiteOf,
    request: Request,
    *,
    dry_run: DryRun = False,
) -> Response:
    """Delete a webhook with its deliveries, also those that wait."""
    _, version = await _guarded(site, actor, webhook_id, request)
    if dry_run:
        found = await site.yard.webhooks.deletable(actor, webhook_id, version=version)
        return told(WebhookDeletionOut.of(*found))
    await site.yard.webhooks.delete(actor, webhook_id, version=version)
    return Response(status_code=204)


@router.post("/{webhook_id}/test", status_code=202, responses=problems(401, 403, 404, 409, 412))
async def test(
    webhook_id: str, actor: WritesWebhooks, site: SiteOf, request: Request, response: Response
) -> WebhookOut:
    """Let a test event be delivered to a webhook, and to no other."""
    _, version = await _guarded(site, actor, webhook_id, request)
    return _out(await site.yard.webhooks.test(actor, webhook_id, version=version), response)


@router.post("/{webhook_id}/rotate", status_code=202, responses=problems(401, 403, 404, 409, 412))
async def rotate(
    webhook_id: str, actor: WritesWebhooks, site: SiteOf, request: Request, response: Response
) -> NewSecretOut:
    """Make a new secret, shown in this answer alone; the one before signs for a day more."""
    _, version = await _guarded(site, actor, webhook_id, request)
    webhook = await site.yard.webhooks.rotate(actor, webhook_id, version=version)
    response.headers["ETag"] = tag_of(webhook.version)
    return NewSecretOut.of(webhook)


@router.post("/{webhook_id}/enable", status_code=202, responses=problems(401, 403, 404, 409, 412))
async def enable(
    webhook_id: str, actor: WritesWebhooks, site: SiteOf, request: Request, response: Response
) -> WebhookOut:
    """Switch a webhook on: it hears of what happens from now on."""
    old, version = await _guarded(site, actor, webhook_id, request)
    new = await site.yard.webhooks.enable(actor, webhook_id, version=version)
    return _moved(old, new, response)


@router.post("/{webhook_id}/disable", status_code=202, responses=problems(401, 403, 404, 409, 412))
async def disable(
    webhook_id: str, actor: WritesWebhooks, site: SiteOf, request: Request, response: Response
) -> WebhookOut:
    """Switch a webhook off: what waits for it is given up."""
    old, version = await _guarded(site, actor, webhook_id, request)
    new = await site.yard.webhooks.disable(actor, webhook_id, version=version)
    return _moved(old, new, response)


@router.get("/{webhook_id}/deliveries", responses=problems(401, 403, 404, 422))
async def deliveries(
    webhook_id: str,
    actor: ReadsWebhooks,
    site: SiteOf,
    pages: Pages,
    state: Annotated[DeliveryState | None, Query()] = None,
) -> ListOut[DeliveryOut]:
    """List deliveries of a webhook with their attempts, newest first."""
    before = int(pages.position[0]) if pages.position else None
    found = await site.yard.webhooks.deliveries(actor, webhook_id, state, before, pages.more)
    return pages.page(found, DeliveryOut.of, lambda one: [one.no])


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    responses=problems(401, 403, 404, 409),
)
async def replay(
    webhook_id: str, delivery_id: str, actor: WritesWebhooks, site: SiteOf
) -> DeliveryOut:
    """Let a delivery be made once more, under the same message id.

    With `-` as the webhook, whichever it is of.
    """
    if webhook_id != _WHICHEVER:
        webhook = await site.yard.webhooks.get(actor, webhook_id)
        delivery = await site.yard.store.deliveries.get(delivery_id)
        if delivery.webhook_id != webhook.id:
            raise NotFound(f"no delivery {delivery_id}")
    return DeliveryOut.of(await site.yard.webhooks.replay(actor, delivery_id))


def _out(webhook: Webhook, response: Response) -> WebhookOut:
    response.headers["ETag"] = tag_of(webhook.version)
    return WebhookOut.of(webhook)


def _moved(old: Webhook, new: Webhook, response: Response) -> WebhookOut:
    if old.active is new.active:
        response.status_code = 200  # it was so already
    return _out(new, response)


async def _guarded(
    site: Site, actor: Actor, webhook_id: str, request: Request
) -> tuple[Webhook, int | None]:
    """Return a webhook, and the version that a change may be made to, if it may at this one."""
    webhook = await site.yard.webhooks.get(actor, webhook_id)
    return webhook, expected_version(request, webhook.version)
