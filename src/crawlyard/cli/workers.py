"""`crawlyard workers …`: the processes that run jobs."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.options import Basics, Together, an_id, argument, group
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View, at, column, fields_of
from crawlyard.cli.stdin_args import read_ids
from crawlyard.errors import Invalid, NotFound

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.workers.answers import WorkerOut

app = group(
    """List, drain and stop workers.

    crawlyard workers list
    crawlyard workers quiet ID
    """
)

Worker = Annotated[
    str,
    argument("ID", "Worker id, or a unique start or end of one.", an_id),
]
Workers = Annotated[
    list[str],
    argument(
        "ID", "Worker ids, or unique starts or ends of them; '-' reads them from stdin.", an_id
    ),
    Together(read_ids),
]


def workers_view(now: datetime) -> "View[WorkerOut]":
    """Return the columns of `workers list` and the facts of `workers show`."""
    return View(
        key=lambda worker: worker.id,
        more=lambda worker: fields_of(worker, without={"alive", "quiet", "stopping"}),
        columns=(
            column("STATE"),
            column("ID", wide=True),
            column("HOST", least=110),
            column("PID", right=True, least=120),
            column("VERSION", least=120),
            Column(name="JOBS", value=lambda w: f"{len(w.running)}/{w.slots}", right=True),
            Column(
                name="RATE",
                value=lambda w: f"{w.pages_per_s:.1f}",
                shown=lambda w: words.rate(w.pages_per_s) if w.pages_per_s else "",
                right=True,
            ),
            column("CPU", shown=lambda w: f"{w.cpu:.0%}" if w.cpu else "", right=True, least=110),
            column(
                "LOAD", shown=lambda w: f"{w.load:.1f}" if w.load else "", right=True, least=110
            ),
            column(
                "MEMORY", "memory_bytes", shown=lambda w: words.amount(w.memory_bytes), right=True
            ),
            Column(name="TAGS", value=lambda w: ",".join(w.tags), least=100),
            at("SEEN", "beat_at", now),
            Column(name="BROWSERS", value=lambda w: ",".join(w.browsers), least=120),
        ),
    )


async def _find(session: "Session", word: str) -> str:
    """Return the id of the worker that *word* means: an id, its start or its end."""
    ids = [worker.id for worker in (await session.surface.workers.list()).items]
    if word in ids:
        return word
    matches = [id_ for id_ in ids if id_.startswith(word) or id_.endswith(word)]
    if not matches:
        raise NotFound(f"there is no worker {word}")
    if len(matches) > 1:
        raise Invalid("worker", f"{word!r} matches {' and '.join(matches[:3])}")
    return matches[0]


plain = PlainCommands(app=app, noun="workers", view=workers_view, find=_find)


@app.command("list")
@action(empty=True)
async def list_(session: "Session") -> None:
    """List workers, including those that disappeared within the last day.

    crawlyard workers list
    crawlyard workers list --json
    """
    workers = (await session.surface.workers.list()).items
    await session.write_list(workers, workers_view(session.clock.now()))
    if not workers:
        session.tell(session.with_worker_hint("no recent workers"))


@plain.show()
def show(worker: Worker) -> None:
    """Show a worker in detail.

    crawlyard workers show ID
    crawlyard workers show ID --json
    """


@plain.change("quiet")
def quiet(worker: Workers) -> None:
    """Drain workers: they claim no more jobs, and finish their current ones.

    crawlyard workers quiet ID
    crawlyard workers list -q | crawlyard workers quiet -
    """


@plain.change("resumed")
def resume(worker: Workers) -> None:
    """Let drained workers claim jobs again.

    crawlyard workers resume ID
    """


@plain.change("stopping")
def stop(worker: Workers) -> None:
    """Make workers release their jobs and exit; other workers continue the jobs.

    crawlyard workers stop ID

    Works like SIGTERM: requests in flight have a few seconds to finish. A service manager
    (systemd, a container's restart policy) may start a new worker.
    """


@plain.change("forgotten", basics=Basics)
def forget(worker: Workers) -> None:
    """Delete the records of workers that have disappeared.

    crawlyard workers forget ID
    """
