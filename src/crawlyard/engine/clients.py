"""The HTTP clients that a yard can fetch with, by the names that its settings have for them."""

from collections.abc import Mapping
from datetime import timedelta
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


def _by_aiohttp(guard: Guard, timeout: timedelta, clock: Clock) -> Fetcher:
    return by_aiohttp.AiohttpFetcher(guard, timeout, clock)


CLIENTS: Mapping[str, MakeFetcher] = {"own": WireFetcher, "aiohttp": _by_aiohttp}
