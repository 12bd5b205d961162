"""Command that serves the demo site or a folder: ``python -m crawlyard.demo``."""

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from crawlyard.demo.folder import FolderSite
from crawlyard.demo.server import SiteContent, SiteServer
from crawlyard.demo.site import DemoSite
from crawlyard.errors import Invalid


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crawlyard.demo",
        description="Serve a small site of linked pages. The first line of output is its URL.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--pages", type=int, default=300, help="pages of the site")
    parser.add_argument("--plain", action="store_true", help="without slow and failing pages")
    parser.add_argument(
        "--edition", type=int, choices=(1, 2), default=1, help="2: the site after later edits"
    )
    parser.add_argument("--folder", type=Path, help="serve the files of this folder instead")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before every answer")
    parser.add_argument("--log", type=Path, help="append every request to this file, as JSON")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    site: SiteContent
    if options.folder is not None:
        site = FolderSite(options.folder)
    else:
        site = DemoSite(pages=options.pages, faults=not options.plain, edition=options.edition)
    stop = asyncio.Event()
    for name in ("SIGINT", "SIGTERM"):
        # Windows loops have no signal handlers; there, Ctrl-C ends `asyncio.run` by itself.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), stop.set)
    async with SiteServer(
        site,
        host=options.host,
        port=options.port,
        latency_s=options.latency_ms / 1000,
        log=options.log,
    ) as server:
        sys.stdout.write(f"{server.url}/\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    """Serve until SIGINT or SIGTERM; return the exit code.

    It is 1 if the server cannot start, for example without a free port. A bad option exits
    with 2.
    """
    parser = _parser()
    options = parser.parse_args()
    try:
        asyncio.run(_serve(options))
    except (Invalid, NotADirectoryError) as error:
        parser.error(str(error))
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
