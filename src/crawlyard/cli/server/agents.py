"""`crawlyard mcp | skill`: tools and instructions for agents."""

from importlib.resources import files
from typing import TYPE_CHECKING

from crawlyard.cli.invoke import action
from crawlyard.cli.options import Basics
from crawlyard.cli.stdout import write_line
from crawlyard.errors import Unavailable
from crawlyard.lazy import is_installed, lazily

# only `crawlyard mcp` loads the SDK
with lazily():
    from crawlyard import about
    from crawlyard.bridges.mcp import stdio
if TYPE_CHECKING:
    from crawlyard.cli.session import Session


@action(basics=Basics, creates=True)
async def mcp(session: "Session") -> None:
    """Serve the Model Context Protocol on stdin and stdout, for a client that starts it.

    crawlyard mcp
    crawlyard mcp --server https://crawl.example.org

    Without a server, it needs no other process to read results, and `crawlyard work` to crawl.
    """
    if not is_installed("mcp"):
        raise Unavailable(f"MCP needs mcp: {about.install_line('mcp')}")
    await stdio.run(session.surface)


def skill() -> None:
    """Print instructions for agents that use this command line and the HTTP API.

    crawlyard skill
    crawlyard skill > SKILL.md
    """
    write_line(files("crawlyard").joinpath("SKILL.md").read_text("utf-8").rstrip())
