"""CDP client: commands to a browser and its events, as JSON over a pipe or a WebSocket."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

MAX_MESSAGE_BYTES = 96 * 1024 * 1024
"""Maximum size of a message: the largest document, escaped as JSON, with its envelope."""

Message: TypeAlias = dict[str, Any]

EventHandler: TypeAlias = Callable[[str, Message], None]
"""Called with each event of a session: its method and its parameters."""


class BrowserLost(Exception):
    """The connection to the browser is lost, with all pending commands."""


class CommandFailed(Exception):
    """The browser reported an error for a command."""


class MessageTransport(Protocol):
    """Transport of messages to a browser and back."""

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
        """Close it without waiting for the browser."""
        ...


class CdpConnection:
    """Commands and events of one browser. Responses arrive only while `listen` runs."""

    def __init__(self, transport: MessageTransport) -> None:
        self._transport = transport
        self._last_id = 0
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._handlers: dict[str, EventHandler] = {}
        self._lost_error: BrowserLost | None = None

    def subscribe(self, session: str, handler: EventHandler | None) -> None:
        """Call *handler* with the events of *session*; ``None`` unsubscribes."""
        if handler is None:
            self._handlers.pop(session, None)
        else:
            self._handlers[session] = handler

    async def call(self, method: str, session: str = "", **params: Any) -> Message:
        """Send a command; return its result.

        Raises:
            BrowserLost: the connection is closed.
            CommandFailed: the browser reported an error.
        """
        if self._lost_error is not None:
            raise BrowserLost(str(self._lost_error))
        self._last_id += 1
        command_id = self._last_id
        message: Message = {"id": command_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        future = self._pending[command_id] = asyncio.get_running_loop().create_future()
        try:
            await self._transport.send(json.dumps(message, separators=(",", ":")))
            response = await future
        finally:
            self._pending.pop(command_id, None)
        if "error" in response:
            raise CommandFailed(f"{method}: {str(response['error'].get('message'))[:200]}")
        result: Message = response.get("result", {})
        return result

    async def listen(self) -> None:
        """Dispatch the browser's messages until this is cancelled.

        Raises:
            BrowserLost: the connection is closed.
        """
        try:
            while True:
                self._dispatch(json.loads(await self._transport.receive()))
        except (BrowserLost, ValueError) as error:
            self._lost_error = BrowserLost(str(error))
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(BrowserLost(str(error)))
            raise self._lost_error from error

    async def close(self) -> None:
        """Close the transport; commands in flight are lost."""
        await self._transport.close()

    def _dispatch(self, message: Mapping[str, Any]) -> None:
        command_id = message.get("id")
        if command_id is None:
            handler = self._handlers.get(message.get("sessionId", ""))
            if handler is not None:
                handler(message["method"], message.get("params", {}))
            return
        future = self._pending.get(command_id)
        if future is not None and not future.done():  # otherwise its caller was cancelled
            future.set_result(dict(message))
