"""A server with its worker, from its start to its end."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from crawlyard.cli.here import LocalSession
from crawlyard.cli.signals import interrupts
from crawlyard.cli.working import Beside, run_together
from crawlyard.core.user import LOCAL
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.access import Access
from crawlyard.web.app import create_app
from crawlyard.web.serving import listening, serving
from crawlyard.web.site import SiteOptions, open_site

_MOST_WORKERS = 64
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
    if wish.workers is not None and wish.workers > _MOST_WORKERS:
        raise Invalid("--workers", f"expected at most {_MOST_WORKERS}, got {wish.workers}")
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
        jobs = worker.run if worker is not None else partial(_until, idle)
        await run_together(jobs, services, stop, let_go)
    return stop.exit_code if stop.first is signal.SIGINT else 0


async def _until(event: asyncio.Event) -> None:
    await event.wait()


@contextlib.asynccontextmanager
async def _processes(wish: Wish, session: LocalSession) -> AsyncIterator[None]:
    """Run the worker processes for the block; one that dies is started again."""
    if not wish.workers:
        yield
        return
    async with asyncio.TaskGroup() as group:
        keeping = [group.create_task(_keep(_environment(session))) for _ in range(wish.workers)]
        try:
            yield
        finally:
            for task in keeping:
                task.cancel()


def _environment(session: LocalSession) -> Mapping[str, str]:
    given = session.settings
    told = {"CRAWLYARD_DATA_DIR": str(given.data_dir.absolute())}
    if given.database_url:
        told["CRAWLYARD_DATABASE_URL"] = given.database_url
    return os.environ | told


async def _keep(environment: Mapping[str, str]) -> None:
    """Run a worker process, again and again, until cancelled."""
    words = ("-m", "crawlyard", "work", "--no-scheduler", "--no-webhooks", "--no-janitor")
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, env=environment, start_new_session=True
        )
        try:
            await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        await asyncio.sleep(1)


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
