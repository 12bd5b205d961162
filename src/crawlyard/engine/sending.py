"""How a message is sent: told apart from who sends them, as aiohttp takes long to load."""

from collections.abc import Mapping
from pathlib import Path

import aiohttp
from msgspec import Struct

from crawlyard.engine.by_aiohttp import failure_of
from crawlyard.engine.dial import asked, guarded_session
from crawlyard.engine.failing import NotAsked
from crawlyard.engine.guard import Guard
from crawlyard.engine.names import Crowded, Names


class Message(Struct, frozen=True, kw_only=True):
    """What goes to a canonical URL."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Sending(Struct, frozen=True):
    """Sends one message, on a connection of its own that *guard* has allowed.

    The answer takes at most *timeout_s* seconds; *most* bytes of its body are read.
    """

    guard: Guard
    names: Names
    timeout_s: float
    most: int
    ca_file: Path | None = None

    async def send(self, message: Message) -> tuple[int, str, bytes]:
        """Return status, Retry-After (or "") and the beginning of the body of the answer.

        Raises:
            FetchFailed: there was none.
            NotAsked: nobody was asked, as too much else is under way.
        """
        try:
            async with (
                guarded_session(
                    self.guard, self.timeout_s, self.names, self.ca_file, keeps_alive=False
                ) as session,
                session.post(
                    asked(message.url),
                    data=message.body,
                    headers=message.headers,
                    allow_redirects=False,
                ) as response,
            ):
                beginning = await self._beginning(response)
                response.close()  # the rest of it would only be thrown away
                return response.status, response.headers.get("Retry-After", ""), beginning
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, Crowded):
                raise NotAsked(str(error.os_error)) from error
            raise failure_of(error, self.timeout_s) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise failure_of(error, self.timeout_s) from error

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        kept = b""
        try:
            async for chunk in response.content.iter_any():
                kept += chunk[: self.most]
                if len(kept) >= self.most:
                    break
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        return kept[: self.most]
