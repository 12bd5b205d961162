"""`crawlyard workers …`: who runs jobs, and what is wanted of them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli.invoke import action
from crawlyard.cli.options import Basics, Together, an_id, group
from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View, at, fields_of
from crawlyard.cli.stdin_args import read_ids
from crawlyard.errors import Invalid, NotFound

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.workers.answers import WorkerOut

app = group(
    """See who runs jobs, and let them be quiet, go on or stop.

    crawlyard workers list
    crawlyard workers quiet ID
    """
)

Worker = Annotated[
    str,
    typer.Argument(
        parser=an_id,
        metavar="ID",
        help="A worker's id, or its beginning or end.",
        show_default=False,
    ),
]
Workers = Annotated[
    list[str],
    typer.Argument(
        parser=an_id,
        metavar="ID",
        help="Workers' ids, their beginnings or ends, or '-' to read them from stdin.",
        show_default=False,
    ),
    Together(read_ids),
]


def workers_view(now: datetime) -> "View[WorkerOut]":
    """Return how workers are listed."""
    return View(
        key=lambda worker: worker.id,
        more=lambda worker: fields_of(worker, without={"alive", "quiet", "stopping"}),
        columns=(
            Column(name="STATE", value=lambda w: w.state),
            Column(name="ID", value=lambda w: w.id, wide=True),
            Column(name="HOST", value=lambda w: w.host, least=110),
            Column(name="PID", value=lambda w: w.pid, right=True, least=120),
            Column(name="VERSION", value=lambda w: w.version, least=120),
            Column(name="JOBS", value=lambda w: f"{len(w.running)}/{w.slots}", right=True),
            Column(
                name="RATE",
                value=lambda w: f"{w.pages_per_s:.1f}",
                shown=lambda w: words.rate(w.pages_per_s) if w.pages_per_s else "",
                right=True,
            ),
            Column(
                name="CPU",
                value=lambda w: w.cpu,
                shown=lambda w: f"{w.cpu:.0%}" if w.cpu else "",
                right=True,
                least=110,
            ),
            Column(
                name="LOAD",
                value=lambda w: w.load,
                shown=lambda w: f"{w.load:.1f}" if w.load else "",
                right=True,
                least=110,
            ),
            Column(
                name="MEMORY",
                value=lambda w: w.memory_bytes,
                shown=lambda w: words.amount(w.memory_bytes),
                right=True,
            ),
            Column(name="TAGS", value=lambda w: ",".join(w.tags), least=100),
            at("SEEN", "beat_at", now),
            Column(name="BROWSERS", value=lambda w: ",".join(w.browsers), least=120),
        ),
    )


@app.command("list")
@action(empty=True)
async def list_(session: "Session") -> None:
    """List the workers, gone ones for a day as well.

    crawlyard workers list
    crawlyard workers list --json
    """
    found = (await session.surface.workers.list()).items
    await session.listed(found, workers_view(session.clock.now()))
    if not found:
        session.tell(session.by_worker("no worker has been here lately"))


@app.command()
@action()
async def show(session: "Session", worker: Worker) -> None:
    """Show all there is to know of a worker.

    crawlyard workers show ID
    crawlyard workers show ID --json
    """
    await session.show(await _meant(session, worker), workers_view(session.clock.now()))


@app.command()
@action()
async def quiet(session: "Session", workers: Workers) -> int:
    """Let workers claim no more jobs; they go on with those they have.

    crawlyard workers quiet ID
    crawlyard workers list -q | crawlyard workers quiet -
    """
    return await _want(session, workers, session.surface.workers.quiet, "quiet")


@app.command()
@action()
async def resume(session: "Session", workers: Workers) -> int:
    """Let quiet workers claim jobs again.

    crawlyard workers resume ID
    """
    return await _want(session, workers, session.surface.workers.resume, "resumed")


@app.command()
@action()
async def stop(session: "Session", workers: Workers) -> int:
    """Let workers give their jobs back and end; others go on with them where they stand.

    crawlyard workers stop ID

    As a SIGTERM would: requests in flight get some seconds. Whatever starts workers where they
    run (systemd, a container's restart policy) may start another one.
    """
    return await _want(session, workers, session.surface.workers.stop, "stopping")


@app.command()
@action(basics=Basics)
async def forget(session: "Session", workers: Workers) -> int:
    """Forget workers that are gone.

    crawlyard workers forget ID
    """

    async def forgotten(worker_id: str) -> str:
        await session.surface.workers.forget(worker_id)
        return f"forgotten: {worker_id}"

    code, _ = await session.each(workers, forgotten, str, find=_finder(session))
    return code


async def _meant(session: "Session", word: str) -> "WorkerOut":
    known = (await session.surface.workers.list()).items
    same = [one for one in known if one.id == word]
    found = same or [one for one in known if one.id.startswith(word) or one.id.endswith(word)]
    if not found:
        raise NotFound(f"there is no worker {word}")
    if len(found) > 1:
        raise Invalid("worker", f"{word!r} may be {' or '.join(one.id for one in found[:3])}")
    return found[0]


def _finder(session: "Session") -> Callable[[str], Awaitable[str]]:
    async def find(word: str) -> str:
        return (await _meant(session, word)).id

    return find


async def _want(
    session: "Session",
    words: Sequence[str],
    act: Callable[[str], Awaitable["WorkerOut"]],
    done: str,
) -> int:
    """Act on the workers that *words* mean; then write what they are now, if that was asked."""
    code, found = await session.each(
        words, act, lambda one: f"{done}: {one.id}", find=_finder(session)
    )
    if not code:
        await session.changed(found, workers_view(session.clock.now()), one=len(words) == 1)
    return code
