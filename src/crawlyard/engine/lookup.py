"""Addresses of names that somebody wants to keep, looked up once."""

import asyncio
from collections.abc import Sequence

from crawlyard.engine.names import Names

_RESOLVE_S = 5.0
_TO_SAVE = Names(32)


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """Return the addresses that *host* has now, perhaps more than one.

    Raises:
        OSError: it has none, or nobody answers.
    """
    async with asyncio.timeout(_RESOLVE_S):
        found = await _TO_SAVE.addresses(host, port)
    return sorted({str(address[0]) for *_, address in found})
