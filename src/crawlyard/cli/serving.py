"""A server with its worker, from its start to its end."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from crawlyard.cli.here import LocalSession
from crawlyard.cli.signals import interrupts
from crawlyard.cli.supervising import MOST_PROCESSES, NOTHING_BESIDE, Crew
from crawlyard.cli.working import Beside, run_together
from crawlyard.core.user import LOCAL
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.access import Access
from crawlyard.services.worker import Worker
from crawlyard.web.app import create_app
from crawlyard.web.serving import listening, serving
from crawlyard.web.site import SiteOptions, open_site

_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not listened on


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How to serve."""

    host: str
    port: int
    workers: int | None  # processes; None: one, in this process
    allow_hosts: tuple[str, ...] = ()


async def serve(session: LocalSession, *, wish: Wish) -> int:
    """Serve until a signal; then close streams, give leases back, and end."""
    if wish.workers is not None and wish.workers > MOST_PROCESSES:
        raise Invalid("--workers", f"expected at most {MOST_PROCESSES}, got {wish.workers}")
    yard = session.yard
    access = Access(yard.store, yard.clock)
    local = _is_loopback(wish.host)
    if not local and not await access.any_token():
        raise Forbidden(
            f"{wish.host} can be reached by others, and there is no token yet: "
            f"{session.hint('tokens create NAME')}"
        )
    site = await open_site(yard, _options(wish, local=local))
    with listening(wish.host, wish.port) as sock:
        port = sock.getsockname()[1]
        url = f"http://{_in_url(wish.host)}:{port}"
        app, live = create_app(site), site.live
        async with serving(app, sock, live.close) as end, _processes(wish, session):
            session.tell(f"serving {url}/api/v1")
            if local:
                link = await access.link(LOCAL.id)
                session.tell(f"sign in, once, within 15 minutes: {url}/signin#{link.secret}")
            return await _beside(session, wish, end)


async def _beside(session: LocalSession, wish: Wish, end: Callable[[], None]) -> int:
    """Run what keeps a yard going, and a worker unless others do, until a signal.

    Then the server begins to *end* while jobs are given back.
    """
    yard = session.yard
    with interrupts(lambda: None) as stop:
        worker = yard.worker() if wish.workers is None else None
        services = Beside().services(yard)

        def let_go() -> None:
            session.tell("stopping; jobs go back to the queue; once more quits at once")
            end()
            if worker is not None:
                worker.stop()
            idle.set()

        idle = asyncio.Event()
        await run_together(partial(_jobs, worker, idle), services, stop, let_go)
    return stop.exit_code if stop.first is signal.SIGINT else 0


async def _jobs(worker: Worker | None, idle: asyncio.Event) -> None:
    """Run the worker of this process, if it has one, and wait: the server outlives it."""
    if worker is not None:
        await worker.run()
    await idle.wait()


@contextlib.asynccontextmanager
async def _processes(wish: Wish, session: LocalSession) -> AsyncIterator[None]:
    """Run the worker processes for the block; one that dies is started again.

    One that was told to stop is not.
    """
    if not wish.workers:
        yield
        return
    working = asyncio.create_task(Crew(session).work([NOTHING_BESIDE] * wish.workers))
    try:
        yield
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def _options(wish: Wish, *, local: bool) -> SiteOptions:
    names = ("127.0.0.1", "localhost", "::1") if local else ()
    own = () if wish.host in _ANYWHERE else (wish.host,)
    return SiteOptions(hosts=(*names, *own, *wish.allow_hosts), rate_limits=not local)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
