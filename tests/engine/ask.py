"""Fetch one URL and print what came: run as a process, for its own trust store.

python -m tests.engine.ask URL ADDRESS
"""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from crawlyard.clock import SystemClock
from crawlyard.engine.http.client import HttpFetcher
from crawlyard.engine.http.dns import Resolver, look_up
from crawlyard.engine.http.fetch import FetchFailed
from crawlyard.engine.http.guard import Guard


async def ask(url: str, address: str, ca_file: Path | None = None) -> str:
    """Return the body, or the kind of the failure; every name leads to *address*."""
    names = Resolver(8, lambda _, port: look_up(address, port))
    guard = Guard(allow_private=True)
    fetcher = HttpFetcher(guard, timedelta(seconds=10), SystemClock(), names, ca_file)
    try:
        response = await fetcher.fetch(url, {}, 10_000)
    except FetchFailed as failed:
        return f"{failed.kind}: {failed.detail}"
    else:
        return response.body.decode()
    finally:
        await fetcher.close()


if __name__ == "__main__":
    url, address = sys.argv[1:]
    sys.stdout.write(asyncio.run(ask(url, address)))
