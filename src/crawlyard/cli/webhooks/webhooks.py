"""`crawlyard webhooks …`: signed messages to other programs."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crawlyard.cli import values
from crawlyard.cli.failures import DECLINED
from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.jobs import lookup
from crawlyard.cli.options import (
    Basics,
    IdempotencyKey,
    Limit,
    Together,
    Yes,
    an_id,
    argument,
    choice,
    group,
    key_for,
    option,
)
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View, at, column, id_of, instant
from crawlyard.cli.stdin_args import read_ids
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.webhooks.webhook import EVERYTHING, DeliveryState
from crawlyard.errors import Invalid, NotFound
from crawlyard.lazy import lazily

# it loads a library that few commands need: 4 ms
with lazily():
    from crawlyard.services.webhooks import signing
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.webhooks.answers import DeliveryOut, NotificationOut, WebhookOut

app = group(
    """Send signed webhooks on events.

    crawlyard webhooks create https://hooks.example.org/crawls --event 'job.*'
    crawlyard webhooks test 7f3a91c2
    crawlyard webhooks deliveries 7f3a91c2 --state failed
    """
)

_SECRET = "CRAWLYARD_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
_WHICHEVER = "-"  # in place of a webhook id: the delivery determines it

Id = Annotated[str, argument("ID", "Webhook id, or a unique start or end of one.", an_id)]
Ids = Annotated[
    list[str],
    argument(
        "ID", "Webhook ids, or unique starts or ends of them; '-' reads them from stdin.", an_id
    ),
    Together(read_ids),
]
DeliveryIds = Annotated[
    list[str],
    argument("ID", "Delivery ids, or '-' to read them from stdin.", an_id),
    Together(read_ids),
]
Url = Annotated[str, argument("URL", "URL that receives the messages.")]
NewUrl = Annotated[str | None, option(values.line, "--url", "URL", "New URL.")]
Events = Annotated[
    list[str] | None,
    option(values.line, "--event", "NAME", "Events to send, such as 'job.*'. Repeatable."),
]
Description = Annotated[str | None, option(str, "--description", "TEXT", "Purpose.")]
Allowed = Annotated[
    list[str] | None,
    option(
        values.line,
        "--allow-address",
        "ADDR",
        "Allow a private HOST, IP or CIDR, optionally with :PORT. Repeatable.",
    ),
]
NewAllowed = Annotated[
    list[Any] | None,
    option(
        values.ceiling(values.line),
        "--allow-address",
        "ADDR",
        "Allow a private address, in place of the previous ones; 'none' allows none. Repeatable.",
    ),
]
OfSchedule = Annotated[
    str | None,
    option(values.line, "--schedule", "NAME", "Only events of this schedule and its jobs."),
]
NewOfSchedule = Annotated[
    object,
    option(
        values.ceiling(values.line),
        "--schedule",
        "NAME",
        "Only events of this schedule; 'none': all events.",
    ),
]
OfJob = Annotated[
    str, option(str, "--job", "ID", "Only webhooks of this job; default: webhooks without a job.")
]
OfState = Annotated[
    DeliveryState | None, choice("--state", of=DeliveryState, text="Only deliveries in this state")
]
SecretFile = Annotated[
    Path | None,
    option(Path, "--secret-file", "FILE", f"File with the secret; default {_SECRET}."),
]
MessageId = Annotated[str, option(str, "--id", "TEXT", "The webhook-id header.")]
Timestamp = Annotated[str, option(str, "--timestamp", "TEXT", "The webhook-timestamp header.")]
Signature = Annotated[str, option(str, "--signature", "TEXT", "The webhook-signature header.")]


def state(webhook: "WebhookOut | NotificationOut") -> str:
    """Return the state of a webhook or a channel: on, off or failing."""
    if not webhook.active:
        return "off"
    return "on" if webhook.failing_since is None else "failing"


def webhooks_view(now: datetime) -> "View[WebhookOut]":
    """Return the view of webhooks, with times relative to *now*."""
    return View(
        key=lambda webhook: webhook.id,
        table=("STATE", "ID", "URL", "EVENTS", "OWNER", "AGE", "DESCRIPTION"),
        columns=(
            id_of(lambda w: w.id),
            Column(name="SECRET", value=lambda w: getattr(w, "secret", "")),  # of a new one
            Column(name="STATE", value=state),
            column("REASON", "disabled_reason"),
            column("FAILING SINCE"),
            column("URL", wide=True),
            column("EVENTS", wide=True),
            column("DESCRIPTION", wide=True, least=110),
            column("OPENED", "allow_addresses"),
            column("OF JOB", "job_id"),
            column("OF SCHEDULE", "schedule_id"),
            column("OWNER", least=110),
            Column(
                name="AGE",
                value=lambda w: instant(w, "created_at"),
                shown=lambda w: words.ago(w.created_at, now),
                right=True,
                least=90,
                sheet=False,
            ),
            column("TWO SECRETS UNTIL", "rotated_until"),
            column("CREATED AT"),
            column("UPDATED AT"),
        ),
    )


def deliveries_view(now: datetime) -> "View[DeliveryOut]":
    """Return the view of deliveries, with times relative to *now*."""
    return View(
        key=lambda delivery: delivery.id,
        columns=(
            column("STATE"),
            at("AT", "created_at", now),
            column("EVENT"),
            Column(name="TRIES", value=lambda d: len(d.attempts), right=True),
            Column(name="STATUS", value=lambda d: d.attempts[-1].status if d.attempts else None),
            Column(
                name="TIME",
                value=lambda d: d.attempts[-1].latency_s if d.attempts else None,
                shown=lambda d: words.span(d.attempts[-1].latency_s) if d.attempts else "",
                right=True,
                least=90,
            ),
            at("NEXT", "due_at", now),
            column("ID", least=110),
            Column(name="RESPONSE", value=_last_response, wide=True),
        ),
    )


def _last_response(delivery: "DeliveryOut") -> str:
    if not delivery.attempts:
        return ""
    last = delivery.attempts[-1]
    return " · ".join(part for part in (last.error, last.excerpt) if part)


async def _webhook(session: "Session", word: str) -> "WebhookOut":
    """Return the webhook that *word* means: an id, or its unique start or end.

    Raises:
        NotFound: no webhook matches.
        Invalid: more than one webhook matches.
    """
    webhooks = (await session.surface.webhooks.list(id=word.lower(), limit=2)).items
    if not webhooks:
        raise NotFound(f"there is no webhook {word}")
    if len(webhooks) > 1:
        raise Invalid(
            "id", f"more than one webhook starts or ends with {word!r}; use a longer part"
        )
    return webhooks[0]


async def _id_of(session: "Session", word: str) -> str:
    return (await _webhook(session, word)).id


plain = PlainCommands(app=app, noun="webhooks", view=webhooks_view, find=_id_of)


@app.command("list")
@action(empty=True)
async def list_(session: "Session", *, job: OfJob = "", limit: Limit = None) -> None:
    """List webhooks, newest first.

    crawlyard webhooks list
    crawlyard webhooks list --job last --json
    """
    job_id = await lookup.job_id_of(session, job) if job else ""
    webhook_list = every(session.surface.webhooks.list, job=job_id, limit=session.list_limit(limit))
    count = await session.write_list(webhook_list, webhooks_view(session.clock.now()))
    none = f"job {job_id} has no webhook" if job else "there is no webhook yet"
    session.tell_list_end(count, limit, none, "newest")


@plain.show()
def show(webhook: Id) -> None:
    """Show a webhook, without its secret.

    crawlyard webhooks show 7f3a91c2
    crawlyard webhooks show 7f3a91c2 --json
    """


@app.command()
@action(creates=True)
async def create(
    session: "Session",
    url: Url,
    *,
    events: Events = None,
    description: Description = None,
    allow_addresses: Allowed = None,
    schedule: OfSchedule = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Create a webhook, and show its secret once.

    crawlyard webhooks create https://hooks.example.org/crawls --event job.completed
    crawlyard webhooks create https://hooks.example.org/in --event run.changed --schedule nightly
    crawlyard webhooks create http://127.0.0.1:9000/ --allow-address 127.0.0.1:9000
    """
    webhook = await session.surface.webhooks.create(
        url,
        events=tuple(events or (EVERYTHING,)),
        description=description or "",
        allow_addresses=tuple(allow_addresses or ()),
        schedule=schedule,
        idempotency_key=idempotency_key,
    )
    session.tell("store the secret: it is not shown again")
    session.tell(f"  try it: {session.full_command(f'webhooks test {webhook.id}')}")
    await _show(session, webhook)


@plain.change("changed", edits=True)
def edit(
    webhook: Id,
    *,
    url: NewUrl = None,
    events: Events = None,
    description: Description = None,
    allow_addresses: NewAllowed = None,
    schedule: NewOfSchedule = None,
) -> None:
    """Change a webhook; a list replaces the previous one.

    crawlyard webhooks edit 7f3a91c2 --event 'job.*' --event schedule.paused
    crawlyard webhooks edit 7f3a91c2 --url https://new.example.org/ --allow-address none
    """


@app.command()
@action()
async def test(session: "Session", webhook: Id, *, idempotency_key: IdempotencyKey = None) -> None:  # noqa: PT028 - a command
    """Send a test event to a webhook, regardless of its event filter.

    crawlyard webhooks test 7f3a91c2
    """
    webhook_id = await _id_of(session, webhook)
    tested = await session.surface.webhooks.test(webhook_id, idempotency_key=idempotency_key)
    await _tell(session, "test event queued for", tested)
    session.tell(session.with_worker_hint("  a worker delivers it"))
    session.tell(f"  see the result: {session.full_command(f'webhooks deliveries {tested.id}')}")


@app.command()
@action()
async def deliveries(
    session: "Session", webhook: Id, *, state: OfState = None, limit: Limit = None
) -> None:
    """List deliveries to a webhook, newest first.

    crawlyard webhooks deliveries 7f3a91c2
    crawlyard webhooks deliveries 7f3a91c2 --state failed -q | crawlyard webhooks replay -
    """
    webhook_id = await _id_of(session, webhook)
    endpoint = session.surface.webhooks.deliveries
    records = every(endpoint, webhook_id, state=state, limit=session.list_limit(limit))
    count = await session.write_list(records, deliveries_view(session.clock.now()))
    none = "no matching deliveries" if state else "no deliveries yet"
    session.tell_list_end(count, limit, none, "newest")


@app.command()
@action()
async def replay(
    session: "Session", delivery: DeliveryIds, *, idempotency_key: IdempotencyKey = None
) -> None:
    """Deliver messages again, with the same ids.

    crawlyard webhooks replay msg_6d1c4f0f3c1f4c0d9a55f7a0c2f3b1aa
    """
    again = []
    for message_id in delivery:
        key = key_for(idempotency_key, message_id)
        replayed = session.surface.webhooks.replay(_WHICHEVER, message_id, idempotency_key=key)
        again.append(await replayed)
    for queued in again:
        session.tell(f"due again: {queued.id}")
    session.tell(session.with_worker_hint("  a worker delivers it"))
    await session.write_changed_records(again, deliveries_view(session.clock.now()), single=False)


@app.command()
@action()
async def rotate(session: "Session", webhook: Id) -> None:
    """Create a new secret and show it once; the old one stays valid for a day.

    crawlyard webhooks rotate 7f3a91c2
    crawlyard webhooks rotate 7f3a91c2 --json
    """
    rotated = await session.surface.webhooks.rotate(await _id_of(session, webhook))
    session.tell("store the secret: it is not shown again; the old one stays valid for a day")
    await _show(session, rotated)


@plain.change("on")
def enable(webhook: Ids) -> None:
    """Enable webhooks; they receive events from now on.

    crawlyard webhooks enable 7f3a91c2
    """


@plain.change("off")
def disable(webhook: Ids) -> None:
    """Disable webhooks; pending deliveries are discarded.

    crawlyard webhooks disable 7f3a91c2
    """


@app.command()
@action(basics=Basics)
async def delete(session: "Session", webhook: Ids, *, yes: Yes = False) -> int:
    """Delete webhooks and their deliveries, including pending ones.

    crawlyard webhooks delete 7f3a91c2
    crawlyard webhooks list -q | crawlyard webhooks delete --yes -
    """
    webhooks = [await _webhook(session, word) for word in webhook]
    about = [f"{each.id}  {state(each)}  {each.url}" for each in webhooks]
    if not session.confirm_deletion("webhooks", about, "their pending deliveries", yes=yes):
        return DECLINED
    for each in webhooks:
        await session.surface.webhooks.delete(each.id)
        session.tell(f"deleted: {each.id}")
    return 0


async def _tell(session: "Session", done: str, changed: "WebhookOut") -> None:
    """Report a change, and write the webhook if requested."""
    session.tell(f"{done}: {changed.id}")
    if session.common.writes_records:
        await _show(session, changed)


async def _show(session: "Session", webhook: "WebhookOut") -> None:
    await session.show(webhook, webhooks_view(session.clock.now()))


@app.command()
def verify(
    *, secret_file: SecretFile = None, id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """Verify the signature of a message offline; the body is read from stdin.

    crawlyard webhooks verify --secret-file hook.secret --id msg_1 --timestamp 1767323045 \
--signature 'v1,Kz…=' < body.json

    Exits with 0 if it is valid and its timestamp is within five minutes of now, else with 1.
    """
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }
    why = signing.why_unverified(_secret(secret_file), headers, sys.stdin.buffer.read())
    sys.stderr.write(f"not verified: {why[:1].lower()}{why[1:]}\n" if why else "verified\n")
    raise typer.Exit(1 if why else 0)


def _secret(file: Path | None) -> str:
    """Return the secret; there is no option for it, as other users can see command lines."""
    if file is None:
        secret = os.environ.get(_SECRET, "")
    else:
        try:
            secret = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid("--secret-file", f"cannot read {file}: {error}") from error
    if not secret.strip():
        raise Invalid("--secret-file", f"expected a file with the secret, or {_SECRET}")
    return secret.strip()
