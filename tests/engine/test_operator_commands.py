"""Operators' wishes while a crawl runs, judged from the server's own log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from crawlyard import LOCAL, ErrorKind, Limits, Move, Priority, State, StateReason, Yard
from crawlyard.demo.site import Answer
from crawlyard.errors import IllegalMove
from crawlyard.services.jobs.lookup import find_job
from tests.engine.rig import a_spec, crawled, opened, outcome, published, run, until_state
from tests.engine.test_crawl import paths, tree
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve, after, refetched

SOON_S = 0.5 + 0.5  # by our promise, and what a busy machine may add to it
"""No new request leaves later than this after an operator said stop."""


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with opened(tmp_path, database_url="") as yard:
        yield yard


@asynccontextmanager
async def running(yard: Yard, job_id: str, *, done: int) -> AsyncIterator[asyncio.Task[None]]:
    """Run a job in the background, entered once *done* of its URLs are finished."""
    task = asyncio.create_task(run(yard, job_id))
    try:
        await published(yard, job_id, done=done)
        yield task
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_paused_job_sends_no_requests_and_resumes_without_refetching(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.05)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
    async with running(yard, job.id, done=20):
        await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
        paused_at = monotonic()
    paused = await outcome(yard, job.id)

    assert paused.job.state is State.PAUSED
    assert paused.job.state_reason is StateReason.BY_USER
    assert not after(server.hits, paused_at + SOON_S)
    hits = [hit for hit in server.hits if hit.path != "/robots.txt"]
    assert len(paused.pages) == len(hits)  # pages in flight are stored

    await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
    await run(yard, job.id)
    whole = await outcome(yard, job.id)

    assert whole.job.state is State.COMPLETED
    assert paths(server, whole.ok) == site.reachable()
    assert not refetched(server.hits)


async def test_a_cancelled_job_sends_no_requests_and_keeps_its_pages(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(5, 4)), latency_s=0.02)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
    async with running(yard, job.id, done=20):
        await yard.services.writer.move(LOCAL, job.id, Move.CANCEL, "enough")
        cancelled_at = monotonic()
    ended = await outcome(yard, job.id)

    assert ended.job.state is State.CANCELLED
    assert ended.job.detail == "enough"
    assert len(ended.pages) >= 20
    assert not after(server.hits, cancelled_at + SOON_S)
    events = [event.name.value for event in await events_of(yard, job.id)]
    assert events == ["job.created", "job.started", "job.cancelled"]


async def test_a_cancelled_job_can_go_on_where_it_stood(yard: Yard, site_server: Serve) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.05)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
    async with running(yard, job.id, done=10):
        await yard.services.writer.move(LOCAL, job.id, Move.CANCEL)

    await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
    await run(yard, job.id)

    whole = await outcome(yard, job.id)
    assert paths(server, whole.ok) == site.reachable()
    assert not refetched(server.hits)


async def test_a_limit_lowered_while_it_runs_ends_the_job(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(5, 5)), latency_s=0.02)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
    async with running(yard, job.id, done=10):
        await yard.services.writer.edit(LOCAL, job.id, {"limits": Limits(pages=15)})

    ended = await outcome(yard, job.id)
    assert ended.job.state_reason is StateReason.LIMIT_PAGES
    assert ended.usage.pages >= 15


async def test_a_limit_raised_while_it_runs_is_kept_exactly(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(5, 4)), latency_s=0.02)
    spec = a_spec(f"{server.url}/", concurrency=4, limits=Limits(pages=60))
    job = await submit(yard, spec)
    async with running(yard, job.id, done=10):
        await yard.services.writer.edit(LOCAL, job.id, {"limits": Limits(pages=90)})

    ended = await outcome(yard, job.id)
    assert ended.usage.pages == len(ended.pages) == 90


async def test_an_exclusion_made_while_it_runs_keeps_waiting_urls_out(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(6, 3)), latency_s=0.02)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=2))
    async with running(yard, job.id, done=8):
        await yard.services.writer.edit(LOCAL, job.id, {"exclude": ("/5/*",)})
        excluded_at = monotonic()

    whole = await outcome(yard, job.id)
    assert whole.job.state is State.COMPLETED
    assert not [h for h in after(server.hits, excluded_at + 2.5) if h.path.startswith("/5/")]
    assert "exclude: /5/*" in whole.rules.values()


async def test_edits_of_different_limits_do_not_undo_each_other(yard: Yard) -> None:
    job = await submit(yard, a_spec("http://site.test/", limits=Limits(errors=7)))

    await asyncio.gather(
        yard.services.writer.edit(LOCAL, job.id, {"limits.pages": 10}),
        yard.services.writer.edit(LOCAL, job.id, {"limits.bytes": 1000}),
    )

    edited = await find_job(yard.store, LOCAL, job.id)
    assert edited.job.limits == Limits(pages=10, bytes=1000, errors=7)
    assert edited.job.version == 3


class Healing(GraphSite):
    """A site with faults that can be mended."""

    def __init__(self, links: dict[str, list[str]]) -> None:
        super().__init__(links)
        self.faults = {"/0": 500, "/1": 404, "/2": 410}

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path in self.faults:
            return Answer(self.faults[path])
        return super().answer(method, path, host)


async def test_failed_urls_are_retried_in_place_and_nothing_else_is(
    yard: Yard, site_server: Serve
) -> None:
    site = Healing(tree(4, 2))
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/"))
    request_count = len(server.hits)
    site.faults.clear()

    job, count = await yard.services.writer.retry_failed(LOCAL, first.job.id)
    await run(yard, job.id)
    whole = await outcome(yard, job.id)

    assert (first.usage.errors, count) == (3, 3)
    again = {hit.path for hit in server.hits[request_count:]}
    new = {f"/{n}/{m}" for n in range(3) for m in range(4)}
    assert again - {"/robots.txt"} == {"/0", "/1", "/2"} | new
    assert paths(server, whole.ok) == site.reachable()
    assert whole.usage.errors == 0
    assert whole.usage.pages == len(whole.pages) == len(site.reachable())
    assert max(whole.stored.values()) == 1


async def test_one_kind_of_failure_is_retried_alone(yard: Yard, site_server: Serve) -> None:
    site = Healing(tree(4, 2))
    server = await site_server(site)
    first = await crawled(yard, a_spec(f"{server.url}/"))
    request_count = len(server.hits)

    job, count = await yard.services.writer.retry_failed(LOCAL, first.job.id, {ErrorKind.HTTP_5XX})
    await run(yard, job.id)

    assert count == 1
    assert {h.path for h in server.hits[request_count:]} - {"/robots.txt"} == {"/0"}
    assert (await outcome(yard, job.id)).usage.errors == 3
    with pytest.raises(IllegalMove, match=r"no URL of job .* failed with \"host not found\""):
        await yard.services.writer.retry_failed(LOCAL, first.job.id, {ErrorKind.DNS})


async def test_a_retry_of_the_whole_job_is_a_new_one(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite(tree(2, 1)))
    first = await crawled(yard, a_spec(f"{server.url}/"))

    again = await yard.services.writer.retry(LOCAL, first.job.id)
    await run(yard, again.id)

    assert again.retry_of == first.job.id
    assert len((await outcome(yard, again.id)).pages) == 3


async def test_a_stopped_worker_gives_its_job_back_and_another_goes_on(
    yard: Yard, site_server: Serve
) -> None:
    site = GraphSite(tree(5, 3))
    server = await site_server(site, latency_s=0.02)
    job = await submit(yard, a_spec(f"{server.url}/", concurrency=4))
    worker = yard.worker(only=job.id)
    task = asyncio.create_task(worker.run())
    await published(yard, job.id, done=20)

    worker.stop()
    await task

    given_back = await find_job(yard.store, LOCAL, job.id)
    assert given_back.job.state is State.PENDING
    assert given_back.job.state_reason is StateReason.WORKER_STOPPED
    assert given_back.shard.worker is None
    await run(yard, job.id)
    assert paths(server, (await outcome(yard, job.id)).ok) == site.reachable()
    assert not refetched(server.hits)


async def test_jobs_are_run_in_the_order_of_the_queue(yard: Yard, site_server: Serve) -> None:
    server = await site_server(GraphSite({f"/{p}": [] for p in ("low", "urgent", "normal")}))
    for priority in (Priority.LOW, Priority.URGENT, Priority.NORMAL):
        await submit(yard, a_spec(f"{server.url}/{priority}", priority=priority))

    await yard.worker(slots=1).run(drain=True)

    paths = [hit.path for hit in server.hits if hit.path != "/robots.txt"]
    assert paths == ["/urgent", "/normal", "/low"]


async def test_an_operator_who_is_faster_than_the_end_is_obeyed(
    yard: Yard, site_server: Serve
) -> None:
    gate = asyncio.Event()

    class Holding(GraphSite):
        def answer(self, method: str, path: str, host: str) -> Any:
            return answer_late if path == "/" else super().answer(method, path, host)

    async def answer_late(reader: object, writer: Any) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    server = await site_server(Holding({"/": []}))
    job = await submit(yard, a_spec(f"{server.url}/"))
    task = asyncio.create_task(run(yard, job.id))
    await until_state(yard, job.id, State.RUNNING)
    await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
    gate.set()
    await task

    held_job = await outcome(yard, job.id)
    assert held_job.job.state is State.PAUSED
