"""`crawlyard webhooks …`: let other programs hear of what happens."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.options import Basics, Common, an_id, choice, flag, flat, option
from crawlyard.cli.stdin_args import read_ids
from crawlyard.cli.stdout import write_line
from crawlyard.core.webhooks.webhook import EVERYTHING, DeliveryState
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.webhooks import actions
else:
    invoke = lazily("crawlyard.cli.invoke")
    actions = lazily("crawlyard.cli.webhooks.actions")

app = typer.Typer()

_SECRET = "CRAWLYARD_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Let other programs hear of what happens, by signed messages.

    crawlyard webhooks create https://hooks.example.org/crawls --event 'job.*'
    crawlyard webhooks test 7f3a91c2
    crawlyard webhooks deliveries 7f3a91c2 --state failed
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


_ID = "An id, or its unique beginning or end"
Id = Annotated[str, typer.Argument(parser=an_id, metavar="ID", help=f"{_ID}.", show_default=False)]
Ids = Annotated[
    list[str],
    typer.Argument(
        parser=an_id,
        metavar="ID",
        help=f"{_ID}s, or '-' to read them from stdin.",
        show_default=False,
    ),
]
DeliveryIds = Annotated[
    list[str],
    typer.Argument(
        parser=an_id,
        metavar="ID",
        help="Ids of deliveries, or '-' to read them from stdin.",
        show_default=False,
    ),
]
Url = Annotated[
    str, typer.Argument(metavar="URL", help="Where to post messages.", show_default=False)
]
NewUrl = Annotated[str | None, option(values.line, "--url", "URL", "Where to post messages.")]
Events = Annotated[
    list[str] | None,
    option(values.line, "--event", "NAME", "What to hear of, such as 'job.*'. Repeatable."),
]
Description = Annotated[str | None, option(str, "--description", "TEXT", "What it is for.")]
Allowed = Annotated[
    list[str] | None,
    option(
        values.line,
        "--allow-address",
        "ADDR",
        "Open an address that is not public: HOST, IP or CIDR, with :PORT or not. Repeatable.",
    ),
]
NewAllowed = Annotated[
    list[str] | None,
    option(
        values.line,
        "--allow-address",
        "ADDR",
        "Open an address that is not public, in place of those before; none opens none. "
        "Repeatable.",
    ),
]
OfJob = Annotated[str, option(str, "--job", "ID", "Those of this job; else those of none.")]
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
OfState = Annotated[DeliveryState | None, choice("--state", of=DeliveryState, text="Only these")]
Yes = Annotated[bool, flag("--yes", "-y", text="Do not ask.")]


@app.command("list")
@flat
def list_(*, job: OfJob = "", limit: Limit = 50, common: Common) -> None:
    """List webhooks, newest first.

    crawlyard webhooks list
    crawlyard webhooks list --job last --json
    """
    doing = partial(actions.webhooks, job=job, limit=limit, common=common)
    invoke.run(common, doing, absent=partial(actions.no_webhooks, common))


@app.command()
@flat
def show(webhook: Id, *, common: Common) -> None:
    """Show a webhook, but not its secret.

    crawlyard webhooks show 7f3a91c2
    crawlyard webhooks show 7f3a91c2 --json
    """
    invoke.run(common, partial(actions.webhook, word=webhook, common=common))


@app.command()
@flat
def create(
    url: Url,
    *,
    event: Events = None,
    description: Description = None,
    allow_address: Allowed = None,
    common: Common,
) -> None:
    """Add a webhook, and show its secret this once.

    crawlyard webhooks create https://hooks.example.org/crawls --event job.completed
    crawlyard webhooks create http://127.0.0.1:9000/ --allow-address 127.0.0.1:9000
    """
    doing = partial(
        actions.create,
        url=url,
        events=event or (EVERYTHING,),
        description=description or "",
        allowed=allow_address or (),
        common=common,
    )
    invoke.run(common, doing, creates=True)


@app.command()
@flat
def edit(
    webhook: Id,
    *,
    url: NewUrl = None,
    event: Events = None,
    description: Description = None,
    allow_address: NewAllowed = None,
    common: Common,
) -> None:
    """Change a webhook; a list that is given replaces the one before.

    crawlyard webhooks edit 7f3a91c2 --event 'job.*' --event schedule.paused
    crawlyard webhooks edit 7f3a91c2 --url https://new.example.org/ --allow-address none
    """
    changes = {
        "url": url,
        "events": event,
        "description": description,
        "allow_addresses": () if allow_address == [values.NONE] else allow_address,
    }
    invoke.run(common, partial(actions.edit, word=webhook, changes=changes, common=common))


@app.command()
@flat
def test(webhook: Id, *, common: Common) -> None:
    """Send a test event to a webhook, whatever it wants to hear of.

    crawlyard webhooks test 7f3a91c2
    """
    invoke.run(common, partial(actions.test, word=webhook, common=common))


@app.command()
@flat
def deliveries(webhook: Id, *, state: OfState = None, limit: Limit = 50, common: Common) -> None:
    """List what was delivered to a webhook, newest first.

    crawlyard webhooks deliveries 7f3a91c2
    crawlyard webhooks deliveries 7f3a91c2 --state failed -q | crawlyard webhooks replay -
    """
    doing = partial(actions.deliveries, word=webhook, state=state, limit=limit, common=common)
    invoke.run(common, doing)


@app.command()
@flat
def replay(delivery: DeliveryIds, *, common: Common) -> None:
    """Deliver messages once more, under the same ids.

    crawlyard webhooks replay msg_6d1c4f0f3c1f4c0d9a55f7a0c2f3b1aa
    """
    doing = partial(actions.replay, ids=read_ids(delivery), common=common)
    invoke.run(common, doing)


@app.command()
@flat
def rotate(webhook: Id, *, common: Common) -> None:
    """Make a new secret, and show it this once; the old one signs for a day more.

    crawlyard webhooks rotate 7f3a91c2
    crawlyard webhooks rotate 7f3a91c2 --json
    """
    invoke.run(common, partial(actions.rotate, word=webhook, common=common))


@app.command()
@flat
def enable(webhook: Ids, *, common: Common) -> None:
    """Switch webhooks on; they hear of what happens from now on.

    crawlyard webhooks enable 7f3a91c2
    """
    words = read_ids(webhook)
    invoke.run(common, partial(actions.switch, words=words, on=True, common=common))


@app.command()
@flat
def disable(webhook: Ids, *, common: Common) -> None:
    """Switch webhooks off; what waits for them is given up.

    crawlyard webhooks disable 7f3a91c2
    """
    words = read_ids(webhook)
    invoke.run(common, partial(actions.switch, words=words, on=False, common=common))


@app.command()
@flat
def delete(webhook: Ids, *, yes: Yes = False, basics: Basics) -> None:
    """Delete webhooks with their deliveries, also those that wait.

    crawlyard webhooks delete 7f3a91c2
    crawlyard webhooks list -q | crawlyard webhooks delete --yes -
    """
    invoke.run(basics, partial(actions.delete, words=read_ids(webhook), yes=yes))


SecretFile = Annotated[
    Path | None,
    option(Path, "--secret-file", "FILE", f"A file with the secret in it; else {_SECRET}."),
]
MessageId = Annotated[str, option(str, "--id", "TEXT", "The header webhook-id.")]
Timestamp = Annotated[str, option(str, "--timestamp", "TEXT", "The header webhook-timestamp.")]
Signature = Annotated[str, option(str, "--signature", "TEXT", "The header webhook-signature.")]


@app.command()
def verify(
    *, secret_file: SecretFile = None, id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """Check the signature of a message, whose body is on stdin; ask nobody.

    crawlyard webhooks verify --secret-file hook.secret --id msg_1 --timestamp 1767323045 \
--signature 'v1,Kz…=' < body.json

    Exits with 0 if it is right and its timestamp within five minutes of now, else with 1.
    """
    secret = _secret(secret_file)
    raise typer.Exit(actions.verify(secret, id_, timestamp, signature))


def _secret(file: Path | None) -> str:
    """Return the secret: never a flag, which other users of a machine can read."""
    if file is None:
        given = os.environ.get(_SECRET, "")
    else:
        try:
            given = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid("--secret-file", f"cannot read {file}: {error}") from error
    if not given.strip():
        raise Invalid("--secret-file", f"expected a file with the secret in it, or {_SECRET}")
    return given.strip()
