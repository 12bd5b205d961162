"""MCP on standard input and output, for a client that starts the server itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.server.context import ServerRequestContext

from crawlyard.bridges.mcp.tools import AgentTools

if TYPE_CHECKING:
    from crawlyard.api.surface import Surface


async def run(surface: "Surface") -> None:
    """Answer the requests on stdin, with the rights of *surface*, until it is closed."""

    @asynccontextmanager
    async def yards(_: ServerRequestContext[Any, Any]) -> AsyncIterator["Surface"]:
        yield surface

    await AgentTools(yards).server().run_stdio_async()
