"""What commands do with workers and hosts, and what they tell of them."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from crawlyard.cli.failures import exit_code_of, failure_lines
from crawlyard.cli.fleet.views import host_facts, hosts_view, worker_facts, workers_view
from crawlyard.cli.jobs.actions import MIXED
from crawlyard.cli.options import Common
from crawlyard.cli.render.output import M, View
from crawlyard.cli.render.sheets import listed, nothing, show, whole
from crawlyard.cli.session import Session
from crawlyard.clock import SystemClock
from crawlyard.core.answers.fleet.watch import HostOut, WorkerOut
from crawlyard.core.endpoint import every
from crawlyard.engine.urls import host_named
from crawlyard.errors import CrawlyardError, Invalid, NotFound
from crawlyard.services.fleet.hosts import HostChanges

T = TypeVar("T")

_NO_WORKER = "no worker has been here lately"
_NO_HOST = "no host is asked now, and nothing is said of any"


async def workers(session: Session, *, common: Common) -> int:
    """List the workers."""
    found = (await session.surface.workers.list()).items
    await listed(session, found, workers_view(session.clock.now()), common)
    if not found:
        session.tell(session.by_worker(_NO_WORKER))
    return 0


def no_workers(common: Common) -> int:
    """List the workers of a data directory that does not exist: none."""
    return nothing(common, workers_view(SystemClock().now()), _NO_WORKER)


async def worker(session: Session, *, word: str, common: Common) -> int:
    """Show one worker."""
    found = await _worker(session, word)
    return await show(session, found, worker_facts(found), common, key=found.id)


async def quiet(session: Session, *, words: Sequence[str], common: Common) -> int:
    """Let workers claim no more jobs."""
    return await _want(session, words, session.surface.workers.quiet, "quiet", common)


async def resume(session: Session, *, words: Sequence[str], common: Common) -> int:
    """Let quiet workers claim jobs again."""
    return await _want(session, words, session.surface.workers.resume, "resumed", common)


async def stop(session: Session, *, words: Sequence[str], common: Common) -> int:
    """Let workers give their jobs back and end."""
    return await _want(session, words, session.surface.workers.stop, "stopping", common)


async def forget(session: Session, *, words: Sequence[str]) -> int:
    """Forget workers that are gone."""

    async def gone(word: str) -> str:
        found = await _worker(session, word)
        await session.surface.workers.forget(found.id)
        return found.id

    return (await _each(session, words, gone, lambda forgotten: f"forgotten: {forgotten}"))[0]


async def hosts(session: Session, *, limit: int, common: Common) -> int:
    """List the hosts that are asked now or have a rule."""
    found = every(session.surface.hosts.list, limit=limit or None)
    count = await listed(session, found, hosts_view(session.clock.now()), common)
    if not count:
        session.tell(_NO_HOST)
    elif count == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


def no_hosts(common: Common) -> int:
    """List the hosts of a data directory that does not exist: none."""
    return nothing(common, hosts_view(SystemClock().now()), _NO_HOST)


async def host(session: Session, *, name: str, common: Common) -> int:
    """Show what is done to one host, and what is said of it."""
    found = await session.surface.hosts.get(host_named(name))
    return await show(session, found, host_facts(found), common, key=found.host)


async def set_hosts(
    session: Session, *, names: Sequence[str], changes: HostChanges, common: Common
) -> int:
    """Say how gently hosts are to be asked."""
    if not changes:
        raise Invalid("set", "expected something to say: --delay, --per-host or --note")
    act = partial(session.surface.hosts.set, **changes)
    return await _rule(session, names, act, "set", common)


async def pause_hosts(
    session: Session, *, names: Sequence[str], note: str | None, common: Common
) -> int:
    """Let nobody ask hosts until they are resumed."""
    act = partial(session.surface.hosts.pause, note=note)
    return await _rule(session, names, act, "paused", common)


async def block_hosts(
    session: Session, *, names: Sequence[str], note: str | None, common: Common
) -> int:
    """Let nobody ask hosts; their URLs are skipped."""
    act = partial(session.surface.hosts.block, note=note)
    return await _rule(session, names, act, "blocked", common)


async def resume_hosts(session: Session, *, names: Sequence[str], common: Common) -> int:
    """Let hosts be asked again."""
    return await _rule(session, names, session.surface.hosts.resume, "resumed", common)


async def unset_hosts(session: Session, *, names: Sequence[str]) -> int:
    """Delete the rules of hosts."""

    async def unset(name: str) -> str:
        named = host_named(name)
        await session.surface.hosts.unset(named)
        return named

    return (await _each(session, names, unset, lambda named: f"unset: {named}"))[0]


async def _worker(session: Session, word: str) -> WorkerOut:
    known = (await session.surface.workers.list()).items
    same = [one for one in known if one.id == word]
    found = same or [one for one in known if one.id.startswith(word) or one.id.endswith(word)]
    if not found:
        raise NotFound(f"there is no worker {word}")
    if len(found) > 1:
        raise Invalid("worker", f"{word!r} may be {' or '.join(one.id for one in found[:3])}")
    return found[0]


async def _want(
    session: Session,
    words: Sequence[str],
    act: Callable[[str], Awaitable[WorkerOut]],
    done: str,
    common: Common,
) -> int:
    """Act on the workers that *words* mean; then write what they are now, if that was asked."""

    async def wanted(word: str) -> WorkerOut:
        return await act((await _worker(session, word)).id)

    code, found = await _each(session, words, wanted, lambda one: f"{done}: {one.id}")
    return code or await _written(session, words, found, workers_view(session.clock.now()), common)


async def _rule(
    session: Session,
    names: Sequence[str],
    act: Callable[[str], Awaitable[HostOut]],
    done: str,
    common: Common,
) -> int:
    """Act on the rules of hosts; then write what they are now, if that was asked for."""

    async def ruled(name: str) -> HostOut:
        return await act(host_named(name))

    code, found = await _each(session, names, ruled, lambda one: f"{done}: {one.host}")
    return code or await _written(session, names, found, hosts_view(session.clock.now()), common)


async def _written(
    session: Session, words: Sequence[str], found: Sequence[M], view: View[M], common: Common
) -> int:
    if not common.asked:
        return 0
    if len(words) == 1 and whole(session, common):
        return await show(session, found[0], (), common)  # one was named: one comes back
    await listed(session, found, view, common)
    return 0


async def _each(
    session: Session,
    words: Sequence[str],
    act: Callable[[str], Awaitable[T]],
    done: Callable[[T], str],
) -> tuple[int, list[T]]:
    """Act on each; one that fails is told of and does not keep the others from their turn."""
    codes: set[int] = set()
    acted: list[T] = []
    for word in words:
        try:
            one = await act(word)
        except CrawlyardError as error:
            for line in failure_lines(error):
                session.err.print(line, markup=False, highlight=False, soft_wrap=True)
            codes.add(exit_code_of(error))
            continue
        codes.add(0)
        acted.append(one)
        session.tell(done(one))
    return (codes.pop() if len(codes) == 1 else MIXED if codes else 0), acted
