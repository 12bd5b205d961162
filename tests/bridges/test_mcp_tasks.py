"""Tasks of MCP: a crawl is one for clients that declare them, with the id of its job."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from mcp.client.extension import advertise
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY, Result

from crawlyard import Move, StateReason, Yard
from crawlyard.bridges.mcp.tasks import EXTENSION
from crawlyard.core.jobs.checkpoint import Asker
from tests.bridges.mcp_clients import Tasks, client_of, send, structured
from tests.engine.rig import opened
from tests.surfaces import as_user

CRAWL = {"url": "http://docs.example/", "confirm": True}


async def complete(yard: Yard, job_id: str) -> None:
    """Claim a job, and complete it without a page."""
    now = yard.clock.now()
    asker = Asker("w1", only=job_id)
    claim = await yard.store.leases.claim(asker, now, timedelta(seconds=60))
    assert claim is not None
    job = claim.job.apply_move(Move.COMPLETE, now, actor="worker:w1", reason=StateReason.EXHAUSTED)
    await yard.store.leases.settle(claim.lease, *job)


async def created(tasks: Tasks) -> str:
    """Return the id of the first task, once there is one."""
    async with asyncio.timeout(10):
        while not tasks.states:  # noqa: ASYNC110 - the client appends
            await asyncio.sleep(0.01)
    return tasks.states[0].task_id


async def test_a_crawl_is_a_task_until_its_job_ends(tmp_path: Path) -> None:
    tasks = Tasks()
    async with opened(tmp_path) as yard, client_of(as_user(yard), extensions=[tasks]) as client:
        crawl = asyncio.create_task(client.call_tool("start_crawl", CRAWL))
        job_id = await created(tasks)
        await send(client.session, "tasks/update", job_id, Result)
        await complete(yard, job_id)
        result = structured(await crawl)
        job = await as_user(yard).jobs.get(job_id)

    assert (result["job_id"], result["state"]) == (job_id, "completed")
    first, *_, last = tasks.states
    assert (first.result_type, first.status) == ("task", "working")
    assert (last.result_type, last.status, last.status_message) == (
        "complete",
        "completed",
        job.outcome,
    )
    assert first.created_at == job.created_at.isoformat()


async def test_a_cancelled_task_cancels_its_job(tmp_path: Path) -> None:
    tasks = Tasks()
    async with opened(tmp_path) as yard, client_of(as_user(yard), extensions=[tasks]) as client:
        crawl = asyncio.create_task(client.call_tool("start_crawl", CRAWL))
        job_id = await created(tasks)
        for _ in range(2):  # a client that polls cannot know whether the job has ended
            await send(client.session, "tasks/cancel", job_id, Result)
        assert (await crawl).is_error
        assert (await as_user(yard).jobs.get(job_id)).state == "cancelled"
        with pytest.raises(MCPError, match=r"there is no job none\. Check the id") as unknown:
            await send(client.session, "tasks/get", "none")

    assert tasks.states[-1].status == "cancelled"
    assert unknown.value.code == INVALID_PARAMS


async def test_only_clients_that_declare_tasks_get_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as yard:
        async with client_of(as_user(yard)) as client:
            job = structured(await client.call_tool("start_crawl", CRAWL))
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                with pytest.raises(MCPError, match="did not declare") as refused:
                    await send(client.session, method, job["job_id"])
                assert refused.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY
        async with client_of(as_user(yard), "legacy", extensions=[advertise(EXTENSION)]) as earlier:
            structured(await earlier.call_tool("start_crawl", CRAWL))

        states = [each.state for each in (await as_user(yard).jobs.list()).items]
        assert states == ["pending", "pending"]
