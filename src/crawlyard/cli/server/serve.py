"""`crawlyard serve`: the API, and the services that keep an instance running."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from msgspec import Struct

from crawlyard.cli import invoke, values
from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.cli.server import deadline as deadlines
from crawlyard.core.access import user
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

# not needed for help
with lazily():
    from crawlyard.cli import signals
    from crawlyard.cli.server import processes, work
    from crawlyard.demo import server as demo
    from crawlyard.demo import site as pages
    from crawlyard.services.access import credentials
    from crawlyard.services.workers import worker as workers
    from crawlyard.web import app as web
    from crawlyard.web import forwarded
    from crawlyard.web import server as servers
    from crawlyard.web import site as sites
if TYPE_CHECKING:
    from crawlyard.cli.server.deadline import Deadline
    from crawlyard.cli.session import LocalSession
    from crawlyard.config import Settings
    from crawlyard.services.workers.worker import Worker
    from crawlyard.yard import Yard

_log = logging.getLogger(__name__)

_TOKEN_EVERY = timedelta(seconds=1)  # while there is no token
_SAMPLE = 60  # pages of the demo site for a new instance
_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not listened on


Host = Annotated[
    str, option(values.line, "--host", "ADDR", "Address to listen on; default 127.0.0.1.")
]
Port = Annotated[
    int, option(values.port, "--port", "N", "Port to listen on; 0: any free port; default 8700.")
]
Workers = Annotated[
    int | None,
    option(
        values.count,
        "--workers",
        "N",
        "Number of worker processes; default: one worker, in this process.",
    ),
]
NoWorker = Annotated[bool, flag("--no-worker", text="Do not run jobs in the server.")]
AllowHosts = Annotated[
    list[str] | None,
    option(values.line, "--allow-host", "NAME", "Accept requests for this host name. Repeatable."),
]


@flat()
def serve(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8700,
    workers: Workers = None,
    no_worker: NoWorker = False,
    allow_host: AllowHosts = None,
    basics: Basics,
) -> None:
    """Serve the API and the dashboard over HTTP, until stopped.

    crawlyard serve
    crawlyard serve --port 8800 --workers 2
    crawlyard serve --host 0.0.0.0 --allow-host yard.example.org

    Also runs jobs and schedules, delivers webhooks and deletes expired records. An address other
    than loopback needs a token, and is not used before there is one: crawlyard tokens create NAME
    """
    serve_options = ServeOptions(
        host=host,
        port=port,
        workers=0 if no_worker else workers,
        allow_hosts=tuple(allow_host or ()),
    )
    invoke.run_here(
        basics, partial(_serve, serve_options=serve_options), log_level="info", waits=True
    )


class ServeOptions(Struct, frozen=True, kw_only=True):
    """Address, processes and allowed host names from the command line."""

    host: str
    port: int
    workers: int | None  # processes; None: one, in this process
    allow_hosts: tuple[str, ...] = ()


async def _serve(session: "LocalSession", *, serve_options: ServeOptions) -> int:
    """Serve until a signal; then close streams, release leases, and end."""
    if serve_options.workers is not None and serve_options.workers > processes.MOST_PROCESSES:
        raise Invalid(
            "--workers", f"expected at most {processes.MOST_PROCESSES}, got {serve_options.workers}"
        )
    yard = session.yard
    access = credentials.Credentials(yard.store, yard.clock)
    local = _is_loopback(serve_options.host)
    if not local:
        await _wait_for_token(session, access, serve_options.host)
    async with _sample(session, serve_options) as sample:
        options = _options(serve_options, session.settings, sample, local=local)
        site = await sites.open_site(yard, options)
        with servers.listen(serve_options.host, serve_options.port) as sock:
            port = sock.getsockname()[1]
            url = servers.url_of(serve_options.host, port)
            app, live = web.create_app(site), site.live
            most = session.settings.max_connections
            async with (
                servers.serve(
                    app, sock, live.close, max_connections=most, websockets=web.has_websockets(app)
                ) as end,
                _processes(serve_options, session),
            ):
                begin = partial(
                    session.deadline.begin, deadlines.PARENT_S if serve_options.workers else 0.0
                )
                with signals.catch_interrupts(lambda: None, begin) as stop:
                    session.tell(f"serving {url}/api/v1")
                    if local:
                        link = await access.link(user.LOCAL.id)
                        place = session.settings.public_url or url
                        session.tell(
                            f"sign in (once, within 15 minutes): {place}/signin#{link.secret}"
                        )
                    await _beside(session, serve_options, stop, (begin, end))
                return stop.exit_code if stop.first is signal.SIGINT else 0


async def _wait_for_token(
    session: "LocalSession", access: "credentials.Credentials", host: str
) -> None:
    """Wait for the first token, without which nothing should listen on *host*."""
    if await access.any_token():
        return
    create = session.full_command("tokens create NAME")
    _log.warning(
        "%s can be reached by other machines, and there is no token yet; waiting for it: %s",
        host,
        create,
    )
    while not await access.any_token():
        await session.clock.sleep(_TOKEN_EVERY)


@contextlib.asynccontextmanager
async def _sample(session: "LocalSession", serve_options: ServeOptions) -> AsyncIterator[str]:
    """Serve a small site for a new instance on loopback, and yield its address.

    The address is empty if there is no worker in this process, or there are jobs already.
    """
    if (
        serve_options.workers == 0
        or not _is_loopback(serve_options.host)
        or (await session.surface.jobs.list(limit=1)).items
    ):
        yield ""
    else:
        async with demo.SiteServer(pages.DemoSite(pages=_SAMPLE)) as there:
            yield there.authority


async def _beside(
    session: "LocalSession",
    serve_options: ServeOptions,
    stop: "signals.Interrupts",
    on_stop: Sequence[Callable[[], None]],
) -> None:
    """Run the services of an instance, and a worker unless others do, until *stop*.

    Then call each of *on_stop*, and release the jobs.
    """
    yard = session.yard
    worker = session.deadline.watch(yard.worker()) if serve_options.workers is None else None
    services, newer = work.Beside().services(yard), None
    if worker is None:  # otherwise the worker ends for a newer schema, and all of this with it
        newer = asyncio.create_task(_newer(yard))
        services = {n: partial(while_current, run, newer) for n, run in services.items()}

    def let_go() -> None:
        session.tell("stopping; jobs return to the queue; press Ctrl-C again to quit at once")
        for act in on_stop:
            act()
        if worker is not None:
            worker.stop()
        idle.set()

    idle = asyncio.Event()
    try:
        await work.run_together(
            partial(_jobs, worker, idle, session.deadline), services, stop, let_go
        )
    finally:
        if newer is not None:
            newer.cancel()


async def while_current(run: "work.Service", newer: "asyncio.Task[None]") -> None:
    """Run *run* until the schema is *newer* than this program; then stay idle.

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


async def _newer(yard: "Yard") -> None:
    error = await workers.wait_until_outdated(yard.store, yard.clock)
    _log.error("from now on, this server only answers requests: %s", error)


async def _jobs(worker: "Worker | None", idle: asyncio.Event, deadline: "Deadline") -> None:
    """Run the worker of this process, if any, then wait: the server outlives it."""
    if worker is not None:
        await worker.run()
        if not idle.is_set():
            deadline.cancel()  # the worker alone was stopped
    await idle.wait()


@contextlib.asynccontextmanager
async def _processes(serve_options: ServeOptions, session: "LocalSession") -> AsyncIterator[None]:
    """Run the worker processes for the block; one that dies is restarted.

    One that an operator stopped is not.
    """
    if not serve_options.workers:
        yield
        return
    crew = processes.WorkerProcesses(session)
    session.deadline.before_the_end(crew.kill)
    working = asyncio.create_task(crew.run([processes.NO_SERVICES] * serve_options.workers))
    try:
        yield
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def _options(
    serve_options: ServeOptions, settings: "Settings", sample: str, *, local: bool
) -> "sites.SiteOptions":
    names = ("127.0.0.1", "localhost", "::1") if local else ()
    own = () if serve_options.host in _ANYWHERE else (serve_options.host,)
    public = urlsplit(settings.public_url).hostname
    further = (*serve_options.allow_hosts, *((public,) if public else ()))
    # a proxy on this machine makes a server on loopback reachable
    private = local and all(map(_is_loopback, further)) and not settings.trusted_proxies
    return sites.SiteOptions(
        hosts=(*names, *own, *further),
        rate_limits=not private,
        public_url=settings.public_url,
        trusted_proxies=forwarded.networks_of(settings.trusted_proxies),
        bridges=settings.bridges,
        sample=sample,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
