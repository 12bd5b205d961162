"""`crawlyard triggers …`: addresses that other programs call to start a crawl."""

from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.options import (
    Basics,
    IdempotencyKey,
    Limit,
    an_id,
    argument,
    group,
    option,
)
from crawlyard.cli.render.output import Column, View, column, fields_of
from crawlyard.cli.templates.options import TEMPLATE, Params, params_of
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.access.answers import NewTriggerOut, TriggerOut

app = group(
    """Create triggers: addresses that other programs call to start a crawl.

    crawlyard triggers create CMS --schedule nightly
    crawlyard triggers revoke ID
    """
)

Name = Annotated[str, argument("NAME", "Name of the trigger, such as the program that calls it.")]
Ids = Annotated[list[str], argument("TRIGGER", "Trigger ids.", an_id)]
Id = Annotated[str, argument("TRIGGER", "Trigger id.", an_id)]
OfSchedule = Annotated[
    str | None, option(values.line, "--schedule", "SCHEDULE", "Start this schedule.")
]
OfTemplate = Annotated[
    str | None, option(values.line, "--template", "T", "Submit a job of this template.", TEMPLATE)
]
Mapped = Annotated[
    list[str] | None,
    option(
        str,
        "--map",
        "K=POINTER",
        "Set parameter K to a value of the request's body, such as /page/url. Repeatable.",
        TEMPLATE,
    ),
]
Lasts = Annotated[
    float | None,
    option(values.span_s, "--expires", "DURATION", "Expire after DURATION; default never."),
]

_TRIGGERS: "View[TriggerOut]" = View(
    key=lambda trigger: trigger.id,
    columns=(
        Column(name="STATE", value=lambda t: "revoked" if t.revoked_at else "active"),
        column("ID"),
        column("USER"),
        column("NAME", wide=True),
        column("PREFIX"),
        Column(name="STARTS", value=lambda t: t.schedule_id or t.template_id or ""),
        column("USED", "last_used_at"),
    ),
    more=lambda t: fields_of(t, without={"params", "mapping"}),
)
_CREATED: "View[NewTriggerOut]" = View(
    key=lambda trigger: trigger.token or "",
    columns=(),
    more=lambda t: fields_of(t, without={"params", "mapping"}),
)

triggers = PlainCommands(app=app, noun="triggers", view=lambda _: _TRIGGERS)


@triggers.list("no triggers yet")
def list_triggers(*, limit: Limit = None) -> None:
    """List triggers, newest first, without their tokens.

    crawlyard triggers list
    crawlyard triggers list --json
    """


@triggers.show()
def show(trigger: Id) -> None:
    """Show a trigger, without its token.

    crawlyard triggers show ID
    """


@app.command()
@action(creates=True, params="--param", mapping="--map")
async def create(
    session: "Session",
    name: Name,
    *,
    schedule: OfSchedule = None,
    template: OfTemplate = None,
    param: Params = None,
    mapping: Mapped = None,
    expires_in_s: Lasts = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Create a trigger; its token is shown only once.

    crawlyard triggers create CMS --schedule nightly
    crawlyard triggers create CMS --template docs -p url=https://a.example/ --map url=/page/url

    POST to /hooks/TOKEN of the server starts it, with your permissions at that time.
    """
    trigger = await session.surface.triggers.create(
        name,
        schedule=schedule,
        template=template,
        params=params_of(param or ()),
        mapping=_mapping(mapping or ()),
        expires_in_s=expires_in_s,
        idempotency_key=idempotency_key,
    )
    sentence = f"trigger {trigger.name}, {trigger.id}; its token, which is not shown again:"
    await session.show_secret("trigger", trigger, _CREATED, sentence)


@triggers.change("revoked", basics=Basics)
def revoke(trigger: Ids) -> None:
    """Revoke triggers at once: their addresses are unknown from then on.

    crawlyard triggers revoke ID
    """


def _mapping(words: list[str] | tuple[()]) -> dict[str, str]:
    mapping = {}
    for word in words:
        name, equals, pointer = word.partition("=")
        if not equals or not name.strip():
            raise Invalid("--map", f"expected NAME=POINTER such as url=/page/url, got {word!r}")
        mapping[name.strip()] = pointer
    return mapping
