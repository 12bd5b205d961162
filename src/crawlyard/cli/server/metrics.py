"""Metrics of a worker process over HTTP: `crawlyard work --metrics-port`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from crawlyard.lazy import lazily

# most workers serve no metrics
with lazily():
    from crawlyard.web import server as servers
    from crawlyard.web import site as sites
    from crawlyard.web import worker_app
if TYPE_CHECKING:
    from crawlyard.cli.session import LocalSession
    from crawlyard.services.workers.worker import Worker

LOOPBACK = "127.0.0.1"


class MetricsAddress(Struct, frozen=True, kw_only=True):
    """Address on which metrics are served."""

    host: str = LOOPBACK
    port: int  # 0: any free port

    def words(self, n: int) -> tuple[str, ...]:
        """Return the options for the *n*-th of several processes, on consecutive ports."""
        port = self.port + n if self.port else 0
        return ("--metrics-host", self.host, "--metrics-port", str(port))


@asynccontextmanager
async def serve_metrics(
    session: "LocalSession", worker: "Worker", at: MetricsAddress | None
) -> AsyncIterator[None]:
    """Serve the metrics and the health of *worker* for the block, if an address is given.

    Raises:
        Unavailable: the address is not available, for example because it is in use.
    """
    if at is None:
        yield
        return
    with servers.listen(at.host, at.port) as sock:
        # a page that rebinds its name to this address has no token
        site = await sites.open_site(session.yard, sites.SiteOptions(any_host=True))
        app = worker_app.create_worker_app(site, lambda: worker.looks)
        async with servers.serve(app, sock):
            port = sock.getsockname()[1]
            session.tell(f"metrics: {servers.url_of(at.host, port)}/metrics")
            yield
