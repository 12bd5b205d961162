"""What commands tell of operations, figures and health."""

from contextlib import suppress
from typing import Any

from crawlyard.cli.jobs.reports import damaged
from crawlyard.cli.options import Common
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.sheets import listed, show
from crawlyard.cli.session import Session
from crawlyard.cli.when import When
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.fleet.operations import OperationOut
from crawlyard.core.answers.fleet.stats import StatsOut
from crawlyard.core.endpoint import every
from crawlyard.core.overview.attention import Trouble
from crawlyard.errors import Refused


async def operations(session: Session, *, limit: int, common: Common) -> int:
    """List operations, newest first."""
    listing = session.surface.operations.list
    found = [each async for each in every(listing, limit=limit or None)]
    await listed(session, found, _OPERATIONS, common)
    if not found:
        session.tell("there is no operation yet")
    return 0


async def operation(session: Session, *, word: str, common: Common) -> int:
    """Show one operation."""
    found = await session.surface.operations.get(word)
    return await show(session, found, facts_of(as_dict(found)), common, key=found.id)


async def cancel(session: Session, *, word: str, common: Common) -> int:
    """End an operation; what it has done stays done."""
    found = await session.surface.operations.cancel(word)
    session.tell(f"{found.state}: {found.id}, {found.done:,} of {found.total:,} done")
    if not common.asked:
        return 0
    return await show(session, found, facts_of(as_dict(found)), common, key=found.id)


async def stats(session: Session, *, since: When | None, common: Common) -> int:
    """Tell how many jobs there are, what ended since then, and what was fetched."""
    begin = None if since is None else since.instant(session.clock.now())
    found = await session.surface.stats.get(since=begin)
    cards = found.cards
    facts = [
        ("workers", cards.workers),
        *((f"jobs {state}", count) for state, count in cards.jobs.items()),
        *((f"ended {state}", count) for state, count in cards.ended.items()),
        ("pages today", cards.pages_today),
        ("bytes today", cards.bytes_today),
        ("errors today", cards.errors_today),
        *((name, value) for name, value in _range(found).items()),
    ]
    return await show(session, found, facts, common, key=str(sum(cards.jobs.values())))


def _range(found: StatsOut) -> dict[str, object]:
    return as_dict(found, {"since", "until"})


async def health(session: Session) -> int:
    """Say that the yard can work, how its Redis is, if it has one, and which jobs are damaged."""
    session.tell(_REDIS[(await session.ready()).redis])
    with suppress(Refused):  # a server answers this only if one is signed in
        notices = (await session.surface.attention.get()).items
        ids = [n.job_id for n in notices if n.kind == Trouble.JOB_DAMAGED and n.job_id]
        damaged(session, ids)
    return 0


_REDIS = {
    None: "ok",
    "well": "ok, with Redis",
    "away": "ok, but Redis is away: live progress is slower",
}


def facts_of(told: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what people read of a thing that is *told* as JSON."""
    shown = {name: value for name, value in told.items() if name not in {"object", "links"}}
    return [(name.replace("_", " "), _text(value)) for name, value in shown.items()]


def _text(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return value


_OPERATIONS: View[OperationOut] = View(
    key=lambda operation: operation.id,
    columns=(
        Column(name="STATE", value=lambda o: o.state),
        Column(name="ID", value=lambda o: o.id),
        Column(name="KIND", value=lambda o: o.kind),
        Column(name="DONE", value=lambda o: o.done, right=True),
        Column(name="TOTAL", value=lambda o: o.total, right=True),
        Column(name="FAILED", value=lambda o: o.failed, right=True),
        Column(name="DETAIL", value=lambda o: o.detail, wide=True),
    ),
)
