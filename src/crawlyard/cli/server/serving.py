"""A server with its worker, from its start to its end."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from ipaddress import ip_address

from msgspec import Struct

from crawlyard.cli.here import LocalSession
from crawlyard.cli.server.deadline import PARENT_S, Deadline
from crawlyard.cli.server.processes import MOST_PROCESSES, NOTHING_BESIDE, Crew
from crawlyard.cli.server.working import Beside, Service, run_together
from crawlyard.cli.signals import interrupts
from crawlyard.core.access.user import LOCAL
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.access.credentials import Credentials
from crawlyard.services.worker.worker import Worker, outdated
from crawlyard.web.app import create_app
from crawlyard.web.server import listening, serving
from crawlyard.web.site import SiteOptions, open_site
from crawlyard.yard import Yard

_log = logging.getLogger(__name__)

_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not listened on


class Wish(Struct, frozen=True, kw_only=True):
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
    access = Credentials(yard.store, yard.clock)
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
    begin = partial(session.deadline.begin, PARENT_S if wish.workers else 0.0)
    with interrupts(lambda: None, begin) as stop:
        worker = session.deadline.of(yard.worker()) if wish.workers is None else None
        services, newer = Beside().services(yard), None
        if worker is None:  # else it ends for newer tables, and all of this with it
            newer = asyncio.create_task(_newer(yard))
            services = {n: partial(while_current, run, newer) for n, run in services.items()}

        def let_go() -> None:
            session.tell("stopping; jobs go back to the queue; once more quits at once")
            begin()
            end()
            if worker is not None:
                worker.stop()
            idle.set()

        idle = asyncio.Event()
        try:
            await run_together(
                partial(_jobs, worker, idle, session.deadline), services, stop, let_go
            )
        finally:
            if newer is not None:
                newer.cancel()
    return stop.exit_code if stop.first is signal.SIGINT else 0


async def while_current(run: Service, newer: "asyncio.Task[None]") -> None:
    """Do *run* until the tables are *newer* than this program, and nothing from then on.

    Raises:
        Exception: that of *run*.
    """
    doing = asyncio.ensure_future(run())
    try:
        await asyncio.wait((doing, newer), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            await doing
            return
    finally:
        doing.cancel()
        await asyncio.wait((doing,))
    await asyncio.Event().wait()


async def _newer(yard: Yard) -> None:
    error = await outdated(yard.store, yard.clock)
    _log.error("this server only answers from now on: %s", error)


async def _jobs(worker: Worker | None, idle: asyncio.Event, deadline: Deadline) -> None:
    """Run the worker of this process, if it has one, and wait: the server outlives it."""
    if worker is not None:
        await worker.run()
        if not idle.is_set():
            deadline.met()  # of a stop of the worker alone
    await idle.wait()


@contextlib.asynccontextmanager
async def _processes(wish: Wish, session: LocalSession) -> AsyncIterator[None]:
    """Run the worker processes for the block; one that dies is started again.

    One that was told to stop is not.
    """
    if not wish.workers:
        yield
        return
    crew = Crew(session)
    session.deadline.before_the_end(crew.kill)
    working = asyncio.create_task(crew.work([NOTHING_BESIDE] * wish.workers))
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
