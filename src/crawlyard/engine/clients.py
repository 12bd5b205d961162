"""The HTTP clients that a yard can fetch with, by the names that its settings have for them."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from crawlyard.clock import Clock
from crawlyard.engine.by_wire import WireFetcher
from crawlyard.engine.fetch import Fetcher, MakeFetcher
from crawlyard.engine.guard import Guard
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.engine import by_aiohttp
else:
    by_aiohttp = lazily("crawlyard.engine.by_aiohttp")  # 60 ms and 10 MB that few need


def _by_aiohttp(
    guard: Guard, timeout: timedelta, clock: Clock, *, ca_file: Path | None = None
) -> Fetcher:
    return by_aiohttp.AiohttpFetcher(guard, timeout, clock, ca_file=ca_file)


CLIENTS: Mapping[str, Callable[..., Fetcher]] = {"own": WireFetcher, "aiohttp": _by_aiohttp}


def fetcher_maker(name: str, ca_file: Path | None) -> MakeFetcher:
    """Return what makes fetchers of a client; they trust the authorities of *ca_file* as well."""
    return partial(CLIENTS[name], ca_file=ca_file)
