"""A job whose row cannot be read: its worker fails it, and its owner can only delete it."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.errors import IllegalMove, NotFound
from crawlyard.services.jobs.lookup import find_job
from crawlyard.store.queries import EventQuery
from crawlyard.store.tables.jobs import jobs
from crawlyard.yard import Yard
from tests.builders import a_spec
from tests.conformance.steps import database_of
from tests.jobs import submit


async def a_damaged_job(yard: Yard) -> Job:
    job = await submit(yard, a_spec(urls=("http://127.0.0.1:9/",), allow_private=True))
    broken = update(jobs).where(jobs.c.id == job.id).values(spec='{"urls": "docs"}')
    await database_of(yard.store).write(lambda conn: conn.execute(broken))
    return job


async def test_a_worker_fails_it_once_and_goes_on_with_the_other_jobs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Yard.open(Settings(data_dir=tmp_path)) as yard:
        damaged = await a_damaged_job(yard)
        spec = a_spec(urls=("http://127.0.0.1:9/",), allow_private=True)
        sound = await submit(yard, spec)
        worker = yard.worker()

        with caplog.at_level(logging.ERROR):
            await worker.run(drain=True)

        failed = (await find_job(yard.store, LOCAL, damaged.id)).job
        events = await yard.store.events.events(EventQuery(subject=damaged.id))
        assert (failed.state, failed.state_reason) == (State.FAILED, StateReason.INTERNAL_ERROR)
        assert [event.name for event in events] == ["job.created", "job.started", "job.failed"]
        assert (await find_job(yard.store, LOCAL, sound.id)).job.state.ended
    reason = "spec: urls: Expected `array`, got `str`"
    assert f"job {damaged.id} is damaged and set aside: {reason}" in caplog.text


async def test_nothing_can_be_done_with_it_but_to_delete_it(tmp_path: Path) -> None:
    async with Yard.open(Settings(data_dir=tmp_path)) as yard:
        job = await a_damaged_job(yard)
        writer, moves = yard.services.writer, (Move.PAUSE, Move.RESUME, Move.RETRY_NOW)
        asks: tuple[Any, ...] = (
            partial(writer.edit, changes={"name": "n"}),
            *(partial(writer.move, move=move) for move in moves),
            *(writer.retry, writer.retry_failed),
        )
        message = f"{job.id} is damaged: .+; it can only be deleted"
        for ask in asks:
            with pytest.raises(IllegalMove, match=message) as refused:
                await ask(LOCAL, job.id)
            assert refused.value.allowed == ("delete",)

        await yard.services.writer.delete(LOCAL, job.id)

        with pytest.raises(NotFound):
            await find_job(yard.store, LOCAL, job.id)
