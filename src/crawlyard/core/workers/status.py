"""Worker reports: state, load and requests by operators."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated

from msgspec import Struct, field

from crawlyard.core.fields import HIDDEN
from crawlyard.core.hosts.hosts import HostReport


class WorkerWish(StrEnum):
    """Requests by an operator to a worker."""

    NONE = ""  # work normally
    QUIET = auto()  # claim no more jobs, and finish the current ones
    STOP = auto()  # release its jobs and exit


class WorkerState(StrEnum):
    """Activity of a worker, as lists show it."""

    IDLE = auto()  # it runs no job
    RUNNING = auto()
    QUIET = auto()  # it claims no more jobs
    STOPPING = auto()  # it releases its jobs, and exits
    GONE = auto()  # it has not reported recently


class WorkerReport(Struct, frozen=True, kw_only=True):
    """A worker, as it reports itself every few seconds; only *wish* is set by others."""

    id: str
    wish: WorkerWish = WorkerWish.NONE  # set by the store; ignored in its own report
    quiet: bool = False  # it claims no more jobs
    stopping: bool = False
    host: str
    pid: int
    version: str
    slots: int
    reserved: Annotated[int, HIDDEN] = 0  # its last free slots, reserved for urgent jobs
    tags: tuple[str, ...] = ()  # it can run jobs that require these; sorted
    browsers: tuple[str, ...] = ()  # kinds that it can render with; may include unknown ones
    running: tuple[str, ...] = ()  # ids of jobs
    pages: int = 0  # since its start
    bytes: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)  # by kind
    # jobs started, by how long they had been due: `WAIT_BOUNDS_S`
    waits: Annotated[tuple[int, ...], HIDDEN] = ()
    waited_s: Annotated[float, HIDDEN] = 0.0  # total of these waits
    pages_per_s: float = 0.0  # recently
    memory_bytes: int = 0  # of its process and the children of isolated jobs
    cpu: float = 0.0  # of one processor, recently: 0.5 is half of its time; with those children
    load: float = 0.0  # of its machine, over the last minute
    hosts: Annotated[tuple[HostReport, ...], HIDDEN] = ()
    started_at: datetime
    beat_at: datetime

    @property
    def claims(self) -> bool:
        """True if it claims jobs, as far as is known."""
        return not (self.quiet or self.stopping or self.wish is not WorkerWish.NONE)

    def state(self, *, alive: bool) -> WorkerState:
        """Return its state; a request by an operator counts at once."""
        if not alive:
            return WorkerState.GONE
        if self.stopping or self.wish is WorkerWish.STOP:
            return WorkerState.STOPPING
        if self.quiet or self.wish is WorkerWish.QUIET:
            return WorkerState.QUIET
        return WorkerState.RUNNING if self.running else WorkerState.IDLE
