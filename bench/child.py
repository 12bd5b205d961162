"""Sites that are served by a process of their own."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def serving(module: str, *words: str) -> AsyncIterator[tuple[Process, str]]:
    """Run a module of Python that serves; give its process and the first line that it writes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *words), stdin=PIPE, stdout=PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError(f"{module} has no output")
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()
