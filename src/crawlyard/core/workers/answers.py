"""Answers about workers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from crawlyard.core.answer import Wire
from crawlyard.core.workers.status import WorkerReport


class WorkerOut(Wire, frozen=True, kw_only=True):
    """A worker, as it says of itself every two seconds; who is no admin sees less of it."""

    id: str
    object: Literal["worker"] = "worker"
    state: str  # idle, running, quiet, stopping or gone; a wish counts at once
    alive: bool  # it has said something lately
    wish: str  # what was asked of it: quiet, stop, or nothing
    quiet: bool  # it says that it claims no more jobs
    stopping: bool  # it says that it ends
    host: str
    pid: int
    version: str
    slots: int
    tags: tuple[str, ...]  # it takes jobs that ask for these
    browsers: tuple[str, ...]  # that it can render pages with: lightpanda, chromium
    running: tuple[str, ...]  # ids of jobs
    pages: int  # since it began
    bytes: int
    errors: Mapping[str, int]  # by kind
    pages_per_s: float
    memory_bytes: int
    cpu: float  # of one processor, lately: 0.5 is half of its time
    load: float  # of its machine, the last minute
    started_at: datetime
    beat_at: datetime

    @classmethod
    def of(cls, report: WorkerReport, *, alive: bool) -> "WorkerOut":
        """Return the shape of *report*."""
        state = report.state(alive=alive).value
        return cls.filled(report, state=state, alive=alive)
