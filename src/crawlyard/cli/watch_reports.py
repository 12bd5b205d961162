"""What commands tell of workers, hosts and operations."""

from datetime import datetime
from typing import Any

from crawlyard.cli import words
from crawlyard.cli.options import Common
from crawlyard.cli.output import Column, View
from crawlyard.cli.session import Session
from crawlyard.cli.sheets import listed, show
from crawlyard.cli.when import When
from crawlyard.errors import NotFound
from crawlyard.web.wire.operations import OperationOut
from crawlyard.web.wire.stats import StatsOut
from crawlyard.web.wire.watch import HostOut, WorkerOut

_ALL = 2**31


async def workers(session: Session, *, common: Common) -> int:
    """List the workers."""
    found = await session.clients.watch().workers()
    await listed(session, found, _workers_view(session.clock.now()), common)
    if not found:
        session.tell(session.by_worker("no worker has been here lately"))
    return 0


async def worker(session: Session, *, word: str, common: Common) -> int:
    """Show one worker."""
    found = await _worker(session, word)
    return await show(session, found, _facts(found.model_dump(mode="json")), common, key=found.id)


async def forget(session: Session, *, word: str) -> int:
    """Forget a worker that is gone."""
    found = await _worker(session, word)
    await session.clients.watch().forget(found.id)
    session.tell(f"forgotten: {found.id}")
    return 0


async def hosts(session: Session, *, common: Common) -> int:
    """List the hosts that are asked now."""
    found = await session.clients.watch().hosts()
    await listed(session, found, _hosts_view(session.clock.now()), common)
    if not found:
        session.tell("no host is asked now")
    return 0


async def host(session: Session, *, name: str, common: Common) -> int:
    """Show what is done to one host."""
    for found in await session.clients.watch().hosts():
        if found.host == name:
            facts = _facts(found.model_dump(mode="json"))
            return await show(session, found, facts, common, key=found.host)
    raise NotFound(f"host {name} is not asked now")


async def operations(session: Session, *, limit: int, common: Common) -> int:
    """List operations, newest first."""
    found = await session.clients.watch().operations(limit or _ALL)
    await listed(session, found, _OPERATIONS, common)
    if not found:
        session.tell("there is no operation yet")
    return 0


async def operation(session: Session, *, word: str, common: Common) -> int:
    """Show one operation."""
    found = await session.clients.watch().operation(word)
    return await show(session, found, _facts(found.model_dump(mode="json")), common, key=found.id)


async def cancel(session: Session, *, word: str, common: Common) -> int:
    """End an operation; what it has done stays done."""
    found = await session.clients.watch().cancel(word)
    session.tell(f"{found.state}: {found.id}, {found.done:,} of {found.total:,} done")
    if not common.asked:
        return 0
    return await show(session, found, _facts(found.model_dump(mode="json")), common, key=found.id)


async def stats(session: Session, *, since: When | None, common: Common) -> int:
    """Tell how many jobs there are, what ended since then, and what was fetched."""
    begin = None if since is None else since.instant(session.clock.now())
    found = await session.clients.watch().stats(begin)
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
    return found.model_dump(mode="json", include={"since", "until"})


async def health(session: Session) -> int:
    """Say that the yard can work."""
    await session.clients.watch().health()
    session.tell("ok")
    return 0


async def _worker(session: Session, word: str) -> WorkerOut:
    every = await session.clients.watch().workers()
    found = [one for one in every if word == one.id or one.id.endswith(word)]
    if len(found) != 1:
        raise NotFound(f"there is no worker {word}" if not found else f"{word}: which worker?")
    return found[0]


def _facts(told: dict[str, Any]) -> list[tuple[str, object]]:
    shown = {name: value for name, value in told.items() if name not in {"object", "links"}}
    return [(name.replace("_", " "), _text(value)) for name, value in shown.items()]


def _text(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return value


def _workers_view(now: datetime) -> View[WorkerOut]:
    return View(
        key=lambda worker: worker.id,
        columns=(
            Column(name="STATE", value=_state),
            Column(name="ID", value=lambda w: w.id, wide=True),
            Column(name="HOST", value=lambda w: w.host),
            Column(name="PID", value=lambda w: w.pid, right=True),
            Column(name="JOBS", value=lambda w: f"{len(w.running)}/{w.slots}", right=True),
            Column(
                name="RATE",
                value=lambda w: f"{w.pages_per_s:.1f}",
                shown=lambda w: words.rate(w.pages_per_s) if w.pages_per_s else "",
                right=True,
            ),
            Column(
                name="MEMORY",
                value=lambda w: w.memory_bytes,
                shown=lambda w: words.amount(w.memory_bytes),
                right=True,
            ),
            _instant("SEEN", "beat_at", now),
        ),
    )


def _state(worker: WorkerOut) -> str:
    if not worker.alive:
        return "gone"
    return "stopping" if worker.stopping else "alive"


def _hosts_view(now: datetime) -> View[HostOut]:
    return View(
        key=lambda host: host.host,
        columns=(
            Column(name="HOST", value=lambda h: h.host, wide=True),
            Column(name="FLIGHT", value=lambda h: f"{h.in_flight}/{h.at_once}", right=True),
            Column(name="DELAY", value=lambda h: f"{h.delay_s:g}", right=True),
            Column(name="REFUSALS", value=lambda h: h.refusals, right=True),
            Column(name="JOBS", value=lambda h: len(h.jobs) + h.others, right=True),
            _instant("HELD", "held_until", now),
        ),
    )


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


def _instant(name: str, field: str, now: datetime) -> Column[Any]:
    def shown(item: Any) -> str:
        at = getattr(item, field)
        return "" if at is None else words.clock(at, now)

    return Column(
        name=name,
        value=lambda item: item.model_dump(mode="json", include={field})[field],
        shown=shown,
    )
