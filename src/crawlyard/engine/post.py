"""One message to one receiver: sent to an address that a guard allows, and nowhere else."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from crawlyard.core.webhook import EXCERPT
from crawlyard.engine.guard import Guard
from crawlyard.engine.names import Names
from crawlyard.engine.urls import canonical
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.engine import sending
else:
    sending = lazily("crawlyard.engine.sending")  # 60 ms and 10 MB: most yards send nothing

TIMEOUT = timedelta(seconds=15)
"""For a message and its answer together.

Source: Standard Webhooks, "Operational considerations": 15 to 30 s.
"""

_NAMES = 256  # looked up at once, those included that nobody waits for any more


class Answer(Struct, frozen=True, kw_only=True):
    """What a receiver said."""

    status: int
    retry_after: str  # the header as it came; empty: there was none
    excerpt: str  # the beginning of the body


class Poster:
    """Sends single messages, each on a connection of its own; redirects are answers."""

    def __init__(
        self,
        agent: str,
        timeout: timedelta = TIMEOUT,
        names: Names | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._ca_file = ca_file
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
        message = sending.Message(url=canonical(url), headers=own | dict(headers), body=body)
        way = sending.Sending(guard, self._names, self._timeout_s, EXCERPT, self._ca_file)
        status, retry_after, beginning = await way.send(message)
        return Answer(
            status=status, retry_after=retry_after, excerpt=beginning.decode(errors="replace")
        )
