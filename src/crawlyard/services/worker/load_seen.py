"""Known URLs of a resumed job; reading them takes seconds, so the lease is renewed meanwhile."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from crawlyard.clock import Clock

BEAT_EVERY_S = 2.0
"""The heartbeat interval of an idle crawl; a million URLs take about a second to read."""


async def known_urls(
    chunks: AsyncIterator[Sequence[int]], clock: Clock, beat: Callable[[], Awaitable[bool]]
) -> set[int]:
    """Return all fingerprints in *chunks*; call *beat* meanwhile, and stop if it returns false."""
    known: set[int] = set()
    beaten = clock.monotonic()
    async for chunk in chunks:
        known.update(chunk)
        if clock.monotonic() - beaten >= BEAT_EVERY_S:
            if not await beat():
                break
            beaten = clock.monotonic()
    return known
