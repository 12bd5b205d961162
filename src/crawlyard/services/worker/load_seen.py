"""What a job that goes on knows already; to read it takes seconds, and its lease goes on."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from crawlyard.clock import Clock

BEAT_EVERY_S = 2.0
"""As a crawl that has nothing to tell; a million URLs take about a second."""


async def known_urls(
    chunks: AsyncIterator[Sequence[int]], clock: Clock, beat: Callable[[], Awaitable[bool]]
) -> set[int]:
    """Return all that *chunks* have; meanwhile *beat* is called, until it says that it is over."""
    known: set[int] = set()
    beaten = clock.monotonic()
    async for chunk in chunks:
        known.update(chunk)
        if clock.monotonic() - beaten >= BEAT_EVERY_S:
            if not await beat():
                break
            beaten = clock.monotonic()
    return known
