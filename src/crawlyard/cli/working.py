"""A worker and the command that runs it."""

import asyncio
import signal

from crawlyard.cli.session import Session
from crawlyard.cli.signals import Interrupts, interrupts
from crawlyard.errors import Invalid

_MOST = 256  # as the setting `jobs`


async def work(session: Session, *, slots: int | None, drain: bool) -> int:
    """Run a worker until a signal or, with *drain*, until nothing is left to do."""
    if slots is not None and not 1 <= slots <= _MOST:
        raise Invalid("--jobs", f"expected 1 to {_MOST}, got {slots}")
    worker = session.yard.worker(slots=slots)
    with interrupts(lambda: None) as stop:
        session.tell(f"worker {worker.id} runs up to {slots or session.settings.jobs} jobs at once")
        async with asyncio.TaskGroup() as group:
            running = group.create_task(worker.run(drain=drain))
            waiting = group.create_task(_stopped(stop))
            await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not running.done():
                session.tell("stopping; jobs go back to the queue; once more quits at once")
                worker.stop()
    # SIGTERM is how a worker is meant to be stopped; Ctrl-C breaks off what somebody began
    return stop.exit_code if stop.first is signal.SIGINT else 0


async def _stopped(stop: Interrupts) -> None:
    while stop.first is None:
        await stop.wait(3600)
