"""`crawlyard serve`: the API, and beside it all that keeps a yard going."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import here
    from crawlyard.cli.server import serving, working
else:
    serving, here = lazily("crawlyard.cli.server.serving"), lazily("crawlyard.cli.here")
    working = lazily("crawlyard.cli.server.working")

Host = Annotated[str, option(values.line, "--host", "ADDR", "Where to listen; else 127.0.0.1.")]
Port = Annotated[
    int, option(values.port, "--port", "N", "Where to listen; 0 is a free one; else 8700.")
]
Workers = Annotated[
    int | None,
    option(values.count, "--workers", "N", "Worker processes; else one, in this process."),
]
NoWorker = Annotated[bool, flag("--no-worker", text="Run no jobs here.")]
AllowHosts = Annotated[
    list[str] | None,
    option(values.line, "--allow-host", "NAME", "A name this server is asked by. Repeatable."),
]


@flat
def serve(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8700,
    workers: Workers = None,
    no_worker: NoWorker = False,
    allow_host: AllowHosts = None,
    basics: Basics,
) -> None:
    """Open the yard to programs and people over HTTP, until stopped.

    crawlyard serve
    crawlyard serve --port 8800 --workers 2
    crawlyard serve --host 0.0.0.0 --allow-host yard.example.org

    Jobs, schedules, webhooks and clean-up run beside the API. On another address than
    loopback, a token must exist first: crawlyard tokens create NAME
    """
    wish = serving.Wish(
        host=host,
        port=port,
        workers=0 if no_worker else workers,
        allow_hosts=tuple(allow_host or ()),
    )
    doing = partial(serving.serve, wish=wish)
    here.run(basics, doing, log_level="info")
