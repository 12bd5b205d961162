"""One message to one receiver: sent to an address that a guard allows, and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import aiohttp

from crawlyard.core.webhook import EXCERPT
from crawlyard.engine.dial import asked, guarded_session
from crawlyard.engine.fetch import failure_of
from crawlyard.engine.guard import Guard
from crawlyard.engine.names import Crowded, Names
from crawlyard.engine.urls import canonical, hostname_of

TIMEOUT = timedelta(seconds=15)
"""For a message and its answer together.

Source: Standard Webhooks, "Operational considerations": 15 to 30 s.
"""

_NAMES = 256  # looked up at once, those included that nobody waits for any more


class NotAsked(Exception):
    """The receiver was not asked, for reasons that are not its own: it is not to be blamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver said."""

    status: int
    retry_after: str  # the header as it came; empty: there was none
    excerpt: str  # the beginning of the body


class Poster:
    """Sends single messages, each on a connection of its own; redirects are answers."""

    def __init__(
        self, agent: str, timeout: timedelta = TIMEOUT, names: Names | None = None
    ) -> None:
        self._agent = agent
        self._timeout_s = timeout.total_seconds()
        self._names = names or Names(_NAMES)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, guard: Guard) -> Answer:
        """Return the answer to one POST of *body*, which is JSON, to *url*.

        The status decides: an answer whose body never ends, or breaks off, is one.

        Raises:
            FetchFailed: there was none.
            NotAsked: nobody was asked, as too much else is under way.
            Invalid: *url* is none.
        """
        own = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "Accept-Encoding": "identity",
        }
        url = canonical(url)
        try:
            async with (
                self._session(guard) as session,
                session.post(
                    asked(url, hostname_of(url)),
                    data=body,
                    headers=own | dict(headers),
                    allow_redirects=False,
                ) as response,
            ):
                beginning = await _beginning(response)
                response.close()  # the rest of it would only be thrown away
                return Answer(
                    status=response.status,
                    retry_after=response.headers.get("Retry-After", ""),
                    excerpt=beginning.decode(errors="replace"),
                )
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, Crowded):
                raise NotAsked(str(error.os_error)) from error
            raise failure_of(error, self._timeout_s) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise failure_of(error, self._timeout_s) from error

    def _session(self, guard: Guard) -> aiohttp.ClientSession:
        return guarded_session(guard, self._timeout_s, self._names, keeps_alive=False)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    kept = b""
    try:
        async for chunk in response.content.iter_any():
            kept += chunk[:EXCERPT]
            if len(kept) >= EXCERPT:
                break
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    return kept[:EXCERPT]
