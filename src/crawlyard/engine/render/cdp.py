"""CDP client: commands to a browser and its events, as JSON over a pipe or a WebSocket."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

MOST_BYTES = 96 * 1024 * 1024
"""Of one message: the largest document, escaped as JSON, and what is around it."""

Message: TypeAlias = dict[str, Any]

Heard: TypeAlias = Callable[[str, Message], None]
"""Is told each event of a session: its method and its parameters."""


class BrowserLost(Exception):
    """The browser has gone, with everything that was asked of it."""


class CommandFailed(Exception):
    """The browser refuses a command, and says why."""


class Wire(Protocol):
    """Carries messages to a browser and back."""

    async def send(self, message: str) -> None:
        """Send *message*.

        Raises:
            BrowserLost: the connection is closed.
        """
        ...

    async def receive(self) -> str | bytes:
        """Return the next message; cancelling it loses none.

        Raises:
            BrowserLost: the connection is closed.
        """
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


class Connection:
    """Commands and events of one browser. Answers arrive only while `listen` runs."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._number = 0
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._heard: dict[str, Heard] = {}
        self._lost: BrowserLost | None = None

    def hear(self, session: str, heard: Heard | None) -> None:
        """Have *heard* told the events of *session*; ``None``: nobody any more."""
        if heard is None:
            self._heard.pop(session, None)
        else:
            self._heard[session] = heard

    async def call(self, method: str, session: str = "", **params: Any) -> Message:
        """Send a command; return its result.

        Raises:
            BrowserLost: the connection is closed.
            CommandFailed: the browser does not do it.
        """
        if self._lost is not None:
            raise BrowserLost(str(self._lost))
        self._number += 1
        number = self._number
        message: Message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            await self._wire.send(json.dumps(message, separators=(",", ":")))
            answer = await asked
        finally:
            self._asked.pop(number, None)
        if "error" in answer:
            raise CommandFailed(f"{method}: {str(answer['error'].get('message'))[:200]}")
        result: Message = answer.get("result", {})
        return result

    async def listen(self) -> None:
        """Pass on what the browser says, until this is cancelled.

        Raises:
            BrowserLost: the connection is closed.
        """
        try:
            while True:
                self._take(json.loads(await self._wire.receive()))
        except (BrowserLost, ValueError) as error:
            self._lost = BrowserLost(str(error))
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(BrowserLost(str(error)))
            raise self._lost from error

    async def close(self) -> None:
        """Close the connection."""
        await self._wire.close()

    def _take(self, message: Mapping[str, Any]) -> None:
        number = message.get("id")
        if number is None:
            heard = self._heard.get(message.get("sessionId", ""))
            if heard is not None:
                heard(message["method"], message.get("params", {}))
            return
        asked = self._asked.get(number)
        if asked is not None and not asked.done():  # if not there, nobody waits for it any more
            asked.set_result(dict(message))
