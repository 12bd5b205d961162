"""Whether a run may send requests: while its lease is good, and others see its worker alive."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.engine.fetch import Fetcher, Response

_LOOK_AGAIN = timedelta(milliseconds=50)


class Licence(Struct):
    """Whether a worker may send at all; the worker sets it, its runs look at it."""

    good: bool = True


class Leash:
    """How long one run may send, by our own clock, without an answer of the store.

    A worker that was stopped for longer than its lease finds it out here, before its next
    request: the store would tell it only at the next checkpoint.
    """

    def __init__(self, licence: Licence, clock: Clock, until: datetime | None) -> None:
        self._licence = licence
        self._clock = clock
        self._until = until

    def good(self) -> bool:
        """Tell whether a request may be sent now."""
        lasts = self._until is not None and self._clock.now() < self._until
        return lasts and self._licence.good

    def renew(self, until: datetime) -> None:
        """Take note that the lease lasts until then, at least."""
        self._until = until

    def revoke(self) -> None:
        """Send nothing more until `renew`: the lease is another's, or may be."""
        self._until = None

    async def wait(self) -> None:
        """Return once a request may be sent."""
        while not self.good():
            await self._clock.sleep(_LOOK_AGAIN)


class LeashedFetcher(Struct, frozen=True):
    """A fetcher that holds each request back until it may be sent."""

    fetcher: Fetcher
    leash: Leash

    async def fetch(self, url: str, headers: Mapping[str, str], max_body: int) -> Response:
        """Return the answer of the fetcher behind; see `Fetcher`."""
        if not self.leash.good():
            await self.leash.wait()
        return await self.fetcher.fetch(url, headers, max_body)

    async def close(self) -> None:
        """Close the fetcher behind."""
        await self.fetcher.close()
