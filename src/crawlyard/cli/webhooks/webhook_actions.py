"""What commands do with webhooks, and what they tell of them and their deliveries."""

import sys
from collections.abc import Sequence

from crawlyard.cli.jobs.actions import DECLINED
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, nothing, show
from crawlyard.cli.render.words import printable
from crawlyard.cli.session import Session
from crawlyard.cli.webhooks.webhook_views import deliveries_view, facts, state, webhooks_view
from crawlyard.clock import SystemClock
from crawlyard.core.answers.webhooks.webhooks import DeliveryOut, WebhookOut
from crawlyard.core.webhooks.webhook import DeliveryState
from crawlyard.errors import Invalid
from crawlyard.services.webhooks.signing import why_unverified

_ALL = 2**31


async def webhooks(session: Session, *, job: str, limit: int, common: Common) -> int:
    """List webhooks, newest first: those of one job, or those of none."""
    job_id = await session.client.resolve(job) if job else ""
    found = await session.webhooks.find(job_id, limit or _ALL)
    await listed(session, found, webhooks_view(session.clock.now()), common)
    if not found:
        session.tell(f"job {job_id} has no webhook" if job else "there is no webhook yet")
    return 0


def no_webhooks(common: Common) -> int:
    """List the webhooks of a data directory that does not exist: none."""
    return nothing(common, webhooks_view(SystemClock().now()), "there is no webhook yet")


async def webhook(session: Session, *, word: str, common: Common) -> int:
    """Show one webhook."""
    found = await session.webhooks.get(await session.webhooks.resolve(word))
    return await _show(session, found, common)


async def create(
    session: Session,
    *,
    url: str,
    events: Sequence[str],
    description: str,
    allowed: Sequence[str],
    common: Common,
) -> int:
    """Add a webhook, and show its secret once."""
    made = await session.webhooks.create(url, events, description, allowed)
    session.tell("keep the secret: it is not shown again")
    session.tell(f"  try it: {session.hint(f'webhooks test {made.id}')}")
    return await _show(session, made, common)


async def edit(
    session: Session,
    *,
    word: str,
    url: str | None,
    events: Sequence[str] | None,
    description: str | None,
    allowed: Sequence[str] | None,
    common: Common,
) -> int:
    """Change what is given of a webhook."""
    if url is events is description is allowed is None:
        raise Invalid("edit", "expected something to change: --url, --event, --description, …")
    webhook_id = await session.webhooks.resolve(word)
    changed = await session.webhooks.update(
        webhook_id, url=url, events=events, description=description, allow_addresses=allowed
    )
    return await _tell(session, "changed", changed, common)


async def switch(session: Session, *, words: Sequence[str], on: bool, common: Common) -> int:
    """Switch webhooks on or off."""
    for word in words:
        webhook_id = await session.webhooks.resolve(word)
        switched = await session.webhooks.switch(webhook_id, on=on)
        await _tell(session, "on" if on else "off", switched, common)
    return 0


async def rotate(session: Session, *, word: str, common: Common) -> int:
    """Make a new secret for a webhook, and show it once."""
    made = await session.webhooks.rotate(await session.webhooks.resolve(word))
    session.tell("keep the secret: it is not shown again; the old one signs for a day more")
    return await _show(session, made, common)


async def test(session: Session, *, word: str, common: Common) -> int:
    """Let a test event be delivered to a webhook."""
    tested = await session.webhooks.test(await session.webhooks.resolve(word))
    code = await _tell(session, "a test is on its way to", tested, common)
    session.tell(session.by_worker("  a worker delivers it"))
    session.tell(f"  what came of it: {session.hint(f'webhooks deliveries {tested.id}')}")
    return code


async def deliveries(
    session: Session, *, word: str, state: DeliveryState | None, limit: int, common: Common
) -> int:
    """List deliveries of a webhook, newest first."""
    webhook_id = await session.webhooks.resolve(word)
    found = await session.webhooks.deliveries(webhook_id, state, limit or _ALL)
    await _list(session, found, common)
    if not found:
        session.tell("no delivery is like that" if state else "nothing was to be delivered yet")
    elif len(found) == limit:
        session.tell(f"the newest {limit:,} are shown; --limit 0 shows all")
    return 0


async def replay(session: Session, *, ids: Sequence[str], common: Common) -> int:
    """Let deliveries be made once more."""
    again = [await session.webhooks.replay(delivery_id) for delivery_id in ids]
    for delivery in again:
        session.tell(f"due again: {delivery.id}")
    session.tell(session.by_worker("  a worker delivers it"))
    if common.asked:
        await _list(session, again, common)
    return 0


async def delete(session: Session, *, words: Sequence[str], yes: bool) -> int:
    """Delete webhooks with their deliveries, after a question unless *yes*."""
    found = [await session.webhooks.get(await session.webhooks.resolve(word)) for word in words]
    if not yes and not _agreed(session, found):
        session.tell("nothing was deleted")
        return DECLINED
    for each in found:
        await session.webhooks.delete(each.id)
        session.tell(f"deleted: {each.id}")
    return 0


def verify(secret: str, message_id: str, timestamp: str, signature: str) -> int:
    """Say whether the message on stdin is to be trusted; return 0 if it is, else 1."""
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }
    why = why_unverified(secret, headers, sys.stdin.buffer.read())
    sys.stderr.write(f"not verified: {why[:1].lower()}{why[1:]}\n" if why else "verified\n")
    return 1 if why else 0


def _agreed(session: Session, found: Sequence[WebhookOut]) -> bool:
    session.check_can_ask()
    for each in found:
        session.err.print(
            printable(f"{each.id}  {state(each)}  {each.url}"), markup=False, highlight=False
        )
    count = "this webhook" if len(found) == 1 else f"these {len(found):,} webhooks"
    answer = session.err.input(f"Delete {count} and what waits? (y/N) ", markup=False)
    return answer.strip().lower() in {"y", "yes"}


async def _tell(session: Session, done: str, changed: WebhookOut, common: Common) -> int:
    """Say what was done, and write the webhook if that was asked for."""
    session.tell(f"{done}: {changed.id}")
    if not common.asked:
        return 0
    return await _show(session, changed, common)


async def _show(session: Session, found: WebhookOut, common: Common) -> int:
    view = webhooks_view(session.clock.now())
    return await show(session, found, facts(found), common, key=found.id, view=view)


async def _list(session: Session, found: Sequence[DeliveryOut], common: Common) -> None:
    await listed(session, found, deliveries_view(session.clock.now()), common)
