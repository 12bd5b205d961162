"""`crawlyard notifications …`: messages about crawls to people."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from crawlyard.cli import values
from crawlyard.cli.failures import DECLINED
from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.options import (
    Basics,
    IdempotencyKey,
    Limit,
    Together,
    Yes,
    argument,
    flag,
    group,
    option,
)
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View, column, id_of, instant
from crawlyard.cli.stdin_args import read_ids
from crawlyard.cli.webhooks.webhooks import NewAllowed, OfState, deliveries_view, state
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.webhooks.notifications import Occasion
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.webhooks.answers import NotificationOut

app = group(
    """Send messages about crawls to people.

    crawlyard notifications create ops --slack https://hooks.slack.com/services/… --on failed
    crawlyard notifications test ops
    crawlyard notifications deliveries ops
    """
)


def occasions(text: str) -> list[Occasion]:
    """Return kinds of events, given with commas.

    Raises:
        ValueError: one does not exist.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = next((name for name in names if name not in {*Occasion}), None)
    if unknown is not None:
        raise ValueError(f"{unknown!r} is not one of {', '.join(Occasion)}")
    return [Occasion(name) for name in names]


Name = Annotated[str, argument("NAME", "Name of the channel.")]
Ref = Annotated[str, argument("NAME", "Name or id of the channel.")]
Refs = Annotated[
    list[str],
    argument("NAME", "Names or ids of channels; '-' reads them from stdin."),
    Together(read_ids),
]
Slack = Annotated[
    str | None, option(values.line, "--slack", "URL", "Incoming webhook of a Slack app.")
]
Discord = Annotated[
    str | None, option(values.line, "--discord", "URL", "Webhook of a Discord channel.")
]
Ntfy = Annotated[str | None, option(values.line, "--ntfy", "URL", "Topic of ntfy.")]
Teams = Annotated[
    str | None, option(values.line, "--teams", "URL", "Webhook of a Microsoft Teams workflow.")
]
Mail = Annotated[
    str | None, option(values.line, "--mail", "ADDRESS", "Mail address; an admin sets up mail.")
]
On = Annotated[
    Any,
    option(
        occasions, "--on", "WORD,…", f"Events to send: {', '.join(Occasion)}; default all of them."
    ),
]
QuietHours = Annotated[
    str | None,
    option(values.line, "--quiet-hours", "HH:MM-HH:MM", "Send nothing in these hours."),
]
NewQuietHours = Annotated[
    object,
    option(
        values.ceiling(values.line),
        "--quiet-hours",
        "HH:MM-HH:MM",
        "Send nothing in these hours; 'none': no such hours.",
    ),
]
Zone = Annotated[
    str | None,
    option(values.line, "--zone", "ZONE", "Time zone of the quiet hours; default UTC."),
]
Digest = Annotated[
    float | None,
    option(values.span_s, "--digest", "TIME", "Shortest time between two messages; default 5m."),
]
NamedOnly = Annotated[
    bool,
    flag("--named-only", text="Only events of jobs that name the channel with --notify."),
]
NewNamedOnly = Annotated[
    bool | None,
    flag("--named-only/--all-jobs", text="Only events of jobs that name the channel, or of all."),
]
Allowed = Annotated[
    list[str] | None,
    option(
        values.line,
        "--allow-address",
        "ADDR",
        "Allow a private HOST, IP or CIDR, optionally with :PORT. Repeatable.",
    ),
]


def notifications_view(now: datetime) -> "View[NotificationOut]":
    """Return the view of channels, with times relative to *now*."""
    return View(
        key=lambda channel: channel.id,
        table=("STATE", "NAME", "KIND", "TO", "ON", "OWNER", "AGE"),
        columns=(
            id_of(lambda c: c.id),
            Column(name="STATE", value=state),
            column("REASON", "disabled_reason"),
            column("FAILING SINCE"),
            column("NAME"),
            column("KIND"),
            column("TO", wide=True),
            column("ON", wide=True),
            column("QUIET HOURS"),
            column("ZONE"),
            Column(
                name="DIGEST", value=lambda c: c.digest_s, shown=lambda c: words.span(c.digest_s)
            ),
            column("NAMED ONLY"),
            column("OPENED", "allow_addresses"),
            column("OWNER", least=110),
            Column(
                name="AGE",
                value=lambda c: instant(c, "created_at"),
                shown=lambda c: words.ago(c.created_at, now),
                right=True,
                least=90,
                sheet=False,
            ),
            column("CREATED AT"),
            column("UPDATED AT"),
        ),
    )


plain: "PlainCommands[NotificationOut]" = PlainCommands(
    app=app, noun="notifications", view=notifications_view
)


@plain.list("there is no notification channel yet", empty=True)
def list_(*, limit: Limit = None) -> None:
    """List notification channels, newest first.

    crawlyard notifications list
    """


@plain.show()
def show(channel: Ref) -> None:
    """Show a notification channel, without its URL.

    crawlyard notifications show ops
    """


@app.command()
@action(creates=True, name="NAME", to="--slack, --discord, --ntfy, --teams or --mail")
async def create(
    session: "Session",
    name: Name,
    *,
    slack: Slack = None,
    discord: Discord = None,
    ntfy: Ntfy = None,
    teams: Teams = None,
    mail: Mail = None,
    on: On = None,
    quiet_hours: QuietHours = None,
    zone: Zone = None,
    digest: Digest = None,
    named_only: NamedOnly = False,
    allow_addresses: Allowed = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Create a notification channel; its URL is stored encrypted.

    crawlyard notifications create ops --slack https://hooks.slack.com/services/… --on failed
    crawlyard notifications create night --ntfy https://ntfy.sh/crawls --quiet-hours 22:00-07:00
    crawlyard notifications create team --mail team@example.org --on changed
    """
    targets = {"slack": slack, "discord": discord, "ntfy": ntfy, "teams": teams, "mail": mail}
    chosen = {kind: to for kind, to in targets.items() if to is not None}
    if len(chosen) != 1:
        flags = ", ".join(f"--{kind}" for kind in targets)
        raise Invalid("notifications create", f"expected one of {flags}, got {len(chosen)}")
    [(kind, to)] = chosen.items()
    rules: dict[str, Any] = {"quiet_hours": quiet_hours, "zone": zone, "digest_s": digest}
    rules["on"] = None if on is None else tuple(on)
    channel = await session.surface.notifications.create(
        name,
        kind,  # type: ignore[arg-type]  # a key of `targets`
        to,
        named_only=named_only,
        allow_addresses=tuple(allow_addresses or ()),
        idempotency_key=idempotency_key,
        **{rule: value for rule, value in rules.items() if value is not None},
    )
    session.tell(f"  try it: {session.full_command(f'notifications test {channel.name}')}")
    await session.show(channel, notifications_view(session.clock.now()))


@plain.change("changed", edits=True)
def edit(
    channel: Ref,
    *,
    to: Annotated[str | None, option(values.line, "--to", "URL", "New URL, or address.")] = None,
    on: On = None,
    quiet_hours: NewQuietHours = None,
    zone: Zone = None,
    digest_s: Digest = None,
    named_only: NewNamedOnly = None,
    allow_addresses: NewAllowed = None,
) -> None:
    """Change a notification channel.

    crawlyard notifications edit ops --on failed,logged_out --quiet-hours 22:00-07:00
    crawlyard notifications edit ops --quiet-hours none
    """


@app.command()
@action()
async def test(session: "Session", channel: Ref, *, idempotency_key: IdempotencyKey = None) -> None:  # noqa: PT028 - a command
    """Send a test message, also in quiet hours.

    crawlyard notifications test ops
    """
    tested = await session.surface.notifications.test(channel, idempotency_key=idempotency_key)
    session.tell(f"test message queued for: {tested.name}")
    session.tell(session.with_worker_hint("  a worker sends it"))
    command = session.full_command(f"notifications deliveries {tested.name}")
    session.tell(f"  see the answer: {command}")
    if session.common.writes_records:
        await session.show(tested, notifications_view(session.clock.now()))


@app.command()
@action()
async def deliveries(
    session: "Session", channel: Ref, *, state: OfState = None, limit: Limit = None
) -> None:
    """List the events sent to a channel and the answers, newest first.

    crawlyard notifications deliveries ops
    crawlyard notifications deliveries ops --state failed
    """
    endpoint = session.surface.notifications.deliveries
    records = every(endpoint, channel, state=state, limit=session.list_limit(limit))
    count = await session.write_list(records, deliveries_view(session.clock.now()))
    none = "no matching deliveries" if state else "no deliveries yet"
    session.tell_list_end(count, limit, none, "newest")


@plain.change("on")
def enable(channel: Refs) -> None:
    """Enable channels; they receive events from now on.

    crawlyard notifications enable ops
    """


@plain.change("off")
def disable(channel: Refs) -> None:
    """Disable channels; pending messages are discarded.

    crawlyard notifications disable ops
    """


@app.command()
@action(basics=Basics)
async def delete(session: "Session", channel: Refs, *, yes: Yes = False) -> int:
    """Delete channels and their deliveries, including pending ones.

    crawlyard notifications delete ops
    """
    channels = [await session.surface.notifications.get(ref) for ref in channel]
    about = [f"{each.name}  {state(each)}  {each.kind} {each.to}" for each in channels]
    if not session.confirm_deletion("channels", about, "their pending messages", yes=yes):
        return DECLINED
    for each in channels:
        await session.surface.notifications.delete(each.id)
        session.tell(f"deleted: {each.name}")
    return 0
