"""An edit applies to URLs already waiting, in any worker that crawls the job next."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from crawlyard import LOCAL, Move, Settings, State, Yard
from crawlyard.demo.server import SiteServer
from tests.clock import SteppedClock
from tests.engine.rig import a_spec, begun, outcome, published, run
from tests.jobs import submit
from tests.site import GraphSite, Serve

LINKS = {
    "/": ["/deep", *(f"/{part}/{n}" for n in range(30) for part in ("out", "in"))],
    "/deep": [f"/deep/in/{n}" for n in range(3)],
    **{f"/{part}/{n}": ["/"] for n in range(30) for part in ("out", "in")},
    **{f"/deep/in/{n}": [] for n in range(3)},
}
EDIT = {"exclude": ("/in/*7",), "include": ("/in/*", "/deep*"), "max_depth": 1}
KEPT_OUT = {
    **{f"/out/{n}": "include: no pattern matches" for n in range(30)},
    **{f"/deep/in/{n}": "depth: beyond 1" for n in range(3)},
    **{f"/in/{n}": "exclude: /in/*7" for n in range(7, 30, 10)},
}
ENDS = ("paused first", "paused after", "stopped", "killed")
"""How the run ends that found the URLs: before the edit, or without applying it."""


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def yard(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Yard]:
    async with Yard.open(Settings(data_dir=tmp_path / "data"), clock) as yard:
        yield yard


class Holding(GraphSite):
    """A site that answers two pages at once, and others when `release` is called."""

    def __init__(self) -> None:
        super().__init__(LINKS)
        self.is_open = False
        self._gates: list[asyncio.Event] = []

    def release(self) -> None:
        """Answer what is held."""
        for gate in self._gates:
            gate.set()

    def answer(self, method: str, path: str, host: str) -> Any:
        at_once = self.is_open or path in ("/", "/deep", "/robots.txt")
        return super().answer(method, path, host) if at_once else self._hold

    async def _hold(self, reader: object, writer: Any) -> None:
        gate = asyncio.Event()
        self._gates.append(gate)
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


async def ended(run: asyncio.Task[None], site: Holding) -> None:
    """Return once a run has ended; of what it asks until it hears of that, little is answered."""
    while not run.done():
        site.release()
        await asyncio.wait([run], timeout=0.05)
    site.is_open = True


def requested_paths(server: SiteServer, since: int = 0) -> set[str]:
    """Return the paths of pages that were requested after the first *since* requests."""
    return {hit.path for hit in server.hits[since:]} - {"/robots.txt"}


@pytest.mark.parametrize("end", ENDS)
async def test_the_next_run_requests_nothing_that_an_edit_keeps_out(
    yard: Yard, clock: SteppedClock, site_server: Serve, end: str
) -> None:
    site = Holding()
    server = await site_server(site)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=2))
    worker = yard.worker(only=job.id)
    task = asyncio.create_task(worker.run())
    await published(yard, job.id, done=2)

    if end == "paused first":
        await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
        await ended(task, site)
    await yard.services.writer.edit(LOCAL, job.id, EDIT)
    match end:
        case "paused after":
            await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
        case "stopped":
            worker.stop()
        case "killed":
            task.cancel()
    await ended(task, site)
    before = len(server.hits)
    if end == "killed":
        clock.jump(yard.settings.lease)
    elif end != "stopped":
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
    await run(yard, job.id)

    finished = await outcome(yard, job.id)
    assert finished.job.state is State.COMPLETED
    assert not requested_paths(server, before) & set(KEPT_OUT)
    fetched = {urlsplit(url).path for url in finished.ok}
    assert fetched >= set(LINKS) - set(KEPT_OUT)
    rules = {urlsplit(url).path: rule for url, rule in finished.rules.items()}
    assert rules == {path: rule for path, rule in KEPT_OUT.items() if path not in fetched}
    assert len(rules) > 5


async def test_a_start_url_that_waits_is_kept_out_by_a_pattern_of_an_edit(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/a": [], "/b": [], "/c": []}))
    urls = [f"{server.url}/{name}" for name in "abc"]
    job = await submit(yard, a_spec(*urls, concurrency=1))
    await begun(yard, *urls)

    await yard.services.writer.edit(LOCAL, job.id, {"exclude": ("/b",), "include": ("/c",)})
    await run(yard, job.id)

    assert requested_paths(server) == {"/a", "/c"}  # start URLs need not match `include`
    assert (await outcome(yard, job.id)).rules == {urls[1]: "exclude: /b"}
