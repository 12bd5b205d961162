"""Answers about workers."""

from typing import Annotated, Literal

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.fields import after
from crawlyard.core.workers.status import WorkerReport


@derive_answer
class WorkerOut(WorkerReport, Wire, frozen=True, kw_only=True):
    """A worker, as it reports itself every two seconds; non-admins see fewer fields."""

    object: Literal["worker"] = "worker"
    # idle, running, quiet, stopping or gone; a request by an operator counts at once
    state: Annotated[str, after("object")]  # type: ignore[assignment]
    alive: Annotated[bool, after("state")]  # it has reported recently

    @classmethod
    def of(cls, report: WorkerReport, *, alive: bool) -> "WorkerOut":
        """Return the answer for a worker that is *alive*, or not."""
        return cls.filled(report, state=report.state(alive=alive), alive=alive)
