"""What commands do with webhooks, and what they tell of them and their deliveries."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from crawlyard.cli.jobs.actions import DECLINED
from crawlyard.cli.jobs.lookup import job_id_of
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, nothing, show
from crawlyard.cli.render.words import printable
from crawlyard.cli.session import Session
from crawlyard.cli.webhooks.views import deliveries_view, facts, state, webhooks_view
from crawlyard.clock import SystemClock
from crawlyard.core.answers.webhooks import WebhookOut
from crawlyard.core.endpoint import every
from crawlyard.core.webhooks.webhook import DeliveryState
from crawlyard.errors import Invalid, NotFound
from crawlyard.services.webhooks.signing import why_unverified

_WHICHEVER = "-"  # in place of a webhook's id: the delivery says which


async def meant(session: Session, word: str) -> WebhookOut:
    """Return the webhook that *word* means: a whole id, or the unique beginning or end of one.

    Raises:
        NotFound: no webhook is meant.
        Invalid: more than one webhook is meant.
    """
    found = (await session.surface.webhooks.list(id=word.lower(), limit=2)).items
    if not found:
        raise NotFound(f"there is no webhook {word}")
    if len(found) > 1:
        raise Invalid("id", f"more than one webhook begins or ends with {word!r}; give more of it")
    return found[0]


async def webhooks(session: Session, *, job: str, limit: int, common: Common) -> int:
    """List webhooks, newest first: those of one job, or those of none."""
    job_id = await job_id_of(session, job) if job else ""
    found = every(session.surface.webhooks.list, job=job_id, limit=limit or None)
    if not await listed(session, found, webhooks_view(session.clock.now()), common):
        session.tell(f"job {job_id} has no webhook" if job else "there is no webhook yet")
    return 0


def no_webhooks(common: Common) -> int:
    """List the webhooks of a data directory that does not exist: none."""
    return nothing(common, webhooks_view(SystemClock().now()), "there is no webhook yet")


async def webhook(session: Session, *, word: str, common: Common) -> int:
    """Show one webhook."""
    return await _show(session, await meant(session, word), common)


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
    made = await session.surface.webhooks.create(
        url, events=tuple(events), description=description, allow_addresses=tuple(allowed)
    )
    session.tell("keep the secret: it is not shown again")
    session.tell(f"  try it: {session.hint(f'webhooks test {made.id}')}")
    return await _show(session, made, common)


async def edit(session: Session, *, word: str, changes: Mapping[str, Any], common: Common) -> int:
    """Change fields of a webhook, named as in the API; a field that is ``None`` stays."""
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        raise Invalid("edit", "expected something to change: --url, --event, --description, …")
    found = await meant(session, word)
    changed = await session.surface.webhooks.edit(found.id, **given)
    return await _tell(session, "changed", changed, common)


async def switch(session: Session, *, words: Sequence[str], on: bool, common: Common) -> int:
    """Switch webhooks on or off."""
    act = session.surface.webhooks.enable if on else session.surface.webhooks.disable
    for word in words:
        switched = await act((await meant(session, word)).id)
        await _tell(session, "on" if on else "off", switched, common)
    return 0


async def rotate(session: Session, *, word: str, common: Common) -> int:
    """Make a new secret for a webhook, and show it once."""
    made = await session.surface.webhooks.rotate((await meant(session, word)).id)
    session.tell("keep the secret: it is not shown again; the old one signs for a day more")
    return await _show(session, made, common)


async def test(session: Session, *, word: str, common: Common) -> int:
    """Let a test event be delivered to a webhook."""
    tested = await session.surface.webhooks.test((await meant(session, word)).id)
    code = await _tell(session, "a test is on its way to", tested, common)
    session.tell(session.by_worker("  a worker delivers it"))
    session.tell(f"  what came of it: {session.hint(f'webhooks deliveries {tested.id}')}")
    return code


async def deliveries(
    session: Session, *, word: str, state: DeliveryState | None, limit: int, common: Common
) -> int:
    """List deliveries of a webhook, newest first."""
    webhook_id = (await meant(session, word)).id
    ask = session.surface.webhooks.deliveries
    found = every(ask, webhook_id, state=state, limit=limit or None)
    count = await listed(session, found, deliveries_view(session.clock.now()), common)
    if not count:
        session.tell("no delivery is like that" if state else "nothing was to be delivered yet")
    elif count == limit:
        session.tell(f"the newest {limit:,} are shown; --limit 0 shows all")
    return 0


async def replay(session: Session, *, ids: Sequence[str], common: Common) -> int:
    """Let deliveries be made once more."""
    replay_one = session.surface.webhooks.replay
    again = [await replay_one(_WHICHEVER, delivery_id) for delivery_id in ids]
    for delivery in again:
        session.tell(f"due again: {delivery.id}")
    session.tell(session.by_worker("  a worker delivers it"))
    if common.asked:
        await listed(session, again, deliveries_view(session.clock.now()), common)
    return 0


async def delete(session: Session, *, words: Sequence[str], yes: bool) -> int:
    """Delete webhooks with their deliveries, after a question unless *yes*."""
    found = [await meant(session, word) for word in words]
    if not yes and not _agreed(session, found):
        session.tell("nothing was deleted")
        return DECLINED
    for each in found:
        await session.surface.webhooks.delete(each.id)
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
