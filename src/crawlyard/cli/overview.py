"""`crawlyard ops | stats | health`: operations, counts and the state of an instance."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.jobs import lookup
from crawlyard.cli.options import Basics, Limit, argument, group, option
from crawlyard.cli.render.output import Facts, View, column, fields_of
from crawlyard.cli.when import When
from crawlyard.core.attention import trouble
from crawlyard.core.words import STATES, format_phrase
from crawlyard.errors import Refused

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.operations.answers import OperationOut
    from crawlyard.core.stats import StatsOut

ops_app = group(
    """List and cancel bulk operations.

    crawlyard ops list
    crawlyard ops cancel ID
    """
)

Operation = Annotated[str, argument("ID", "Operation id.")]
Since = Annotated[
    When | None,
    option(
        When.of,
        "--since",
        "WHEN",
        "Count jobs that ended since WHEN: 7d or 2026-11-24; default 24h.",
    ),
]


def _kind(operation: "OperationOut") -> str:
    """Return the kind of an operation in words: "jobs: set priority"."""
    action = operation.request.get("action")
    return f"{operation.kind}: {format_phrase(action)}" if action else operation.kind


def _operation_words(operation: "OperationOut") -> Facts:
    details = [f"{failure.id}: {failure.detail}" for failure in operation.failures]
    phrases = {"kind": _kind(operation), "failures": "\n".join(details)}
    facts = fields_of(operation, without={"request"})
    return [(name, phrases.get(name, value)) for name, value in facts]


_OPERATIONS: "View[OperationOut]" = View(
    key=lambda operation: operation.id,
    more=fields_of,
    more_shown=_operation_words,
    columns=(
        column("STATE"),
        column("ID"),
        column("KIND", shown=_kind),
        column("DONE", right=True),
        column("TOTAL", right=True),
        column("FAILED", right=True),
        column("DETAIL", wide=True),
    ),
)


def _figures(stats: "StatsOut", states: Mapping[str, str]) -> Facts:
    cards = stats.cards
    return [
        ("workers", cards.workers),
        *((f"jobs {states.get(state, state)}", count) for state, count in cards.jobs.items()),
        *((f"ended {states.get(state, state)}", count) for state, count in cards.ended.items()),
        ("pages today", cards.pages_today),
        ("bytes today", cards.bytes_today),
        ("errors today", cards.errors_today),
        *fields_of(stats, {"since", "until"}),
    ]


_STATS: "View[StatsOut]" = View(
    key=lambda stats: str(sum(stats.cards.jobs.values())),
    columns=(),
    more=lambda stats: _figures(stats, {}),
    more_shown=lambda stats: _figures(stats, STATES),
)
_REDIS = {
    None: "ok",
    "well": "ok, with Redis",
    "away": "ok, but Redis is away: live progress is slower",
}


operations = PlainCommands(app=ops_app, noun="operations", view=lambda _: _OPERATIONS)


@operations.list("no operations yet")
def list_operations(*, limit: Limit = None) -> None:
    """List operations, newest first.

    crawlyard ops list
    crawlyard ops list --json
    """


@operations.show()
def show_operation(operation: Operation) -> None:
    """Show the progress of an operation, and its failures.

    crawlyard ops show ID
    """


@ops_app.command("cancel")
@action()
async def cancel_operation(session: "Session", operation: Operation) -> None:
    """Cancel an operation; completed changes stay.

    crawlyard ops cancel ID
    """
    cancelled = await session.surface.operations.cancel(operation)
    session.tell(
        f"{cancelled.state}: {cancelled.id}, {cancelled.done:,} of {cancelled.total:,} done"
    )
    if session.common.writes_records:
        await session.show(cancelled, _OPERATIONS)


@action(until="--since")
async def stats(session: "Session", *, since: Since = None) -> None:
    """Show counts of jobs, workers, and today's pages.

    crawlyard stats
    crawlyard stats --since 7d --json

    Counts your own jobs (admins: all); days are UTC. JSON has counts by hour and day as well.
    """
    begin = None if since is None else since.instant(session.clock.now())
    await session.show(await session.surface.stats.get(since=begin), _STATS)


@action(basics=Basics, public=True)
async def health(session: "Session") -> None:
    """Check that an instance is healthy: its database responds and is usable.

    crawlyard health
    crawlyard health --server http://127.0.0.1:8700

    Lists jobs with damaged rows. Exits with 6 if the instance is not usable. A server needs no
    token for this, and the metrics port of a worker responds as well.
    """
    session.tell(_REDIS[(await session.ready()).redis])
    with suppress(Refused):  # a server requires a sign-in for this
        damaged = trouble.Trouble.JOB_DAMAGED
        notices = (await session.surface.attention.get()).items
        lookup.tell_damaged(session, [n.job_id for n in notices if n.kind == damaged and n.job_id])
