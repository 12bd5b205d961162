"""Operator actions on jobs under faults: pause, resume, cancel, mend and retry."""

import asyncio
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import TypeVar

from crawlyard import LOCAL, Job, Move, State
from crawlyard.errors import IllegalMove
from crawlyard.services.jobs.lookup import find_job
from tests.chaos.campaign import Campaign, patiently
from tests.chaos.history import Acknowledgement
from tests.chaos.site import mend_url

T = TypeVar("T")

_HELD_S = (0.0, 4.0)  # a job is paused for so long
_APART_S = (0.5, 2.0)
_LOOK_EVERY_S = 0.3
_STRIKES = 5  # so many jobs are looked at until one runs


async def operate(campaign: Campaign, seconds: float) -> None:
    """Hold and cancel some jobs for *seconds*, and retry all that have failed; see them go on."""
    end, chance = monotonic() + seconds, campaign.chance
    deeds: list[Callable[[Campaign, str], Awaitable[None]]] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(_retry_failing(campaign, end))
        while monotonic() < end:
            await asyncio.sleep(chance.uniform(*_APART_S))
            if (job_id := await _running(campaign)) is not None:
                # each kind of change in every campaign, in any order
                deeds = deeds or chance.sample([_hold, _hold, _hold, _cancel, _regret], 5)
                await deeds.pop()(campaign, job_id)


async def _running(campaign: Campaign) -> str | None:
    """Return the id of a running job that was not cancelled, or of any job not cancelled."""
    live = [i for i, n in campaign.names.items() if campaign.wanted[n].ends is State.COMPLETED]
    job_id = None
    for _ in range(_STRIKES):
        job_id = campaign.chance.choice(live) if live else None
        if job_id is not None and (await _state(campaign, job_id)) is State.RUNNING:
            return job_id
    return job_id


async def _hold(campaign: Campaign, job_id: str) -> None:
    """Pause a job for a while."""
    writer = campaign.yard.services.writer
    if await _try_move(campaign, lambda: writer.move(LOCAL, job_id, Move.PAUSE)):
        await asyncio.sleep(campaign.chance.uniform(*_HELD_S))
        await _resume(campaign, job_id)


async def _cancel(campaign: Campaign, job_id: str) -> None:
    """Cancel a job; it is not resumed or retried afterwards."""
    writer = campaign.yard.services.writer
    if await _try_move(campaign, lambda: writer.move(LOCAL, job_id, Move.CANCEL)):
        _ends_cancelled(campaign, job_id)


async def _regret(campaign: Campaign, job_id: str) -> None:
    """Cancel a job, and let it go on after all where something is left of it."""
    writer = campaign.yard.services.writer
    if await _try_move(campaign, lambda: writer.move(LOCAL, job_id, Move.CANCEL)):
        await asyncio.sleep(campaign.chance.uniform(*_HELD_S))
        await _resume(campaign, job_id)


async def _resume(campaign: Campaign, job_id: str) -> None:
    await _allowed(lambda: campaign.yard.services.writer.move(LOCAL, job_id, Move.RESUME))
    if await _state(campaign, job_id) is State.CANCELLED:  # nothing is left of it
        _ends_cancelled(campaign, job_id)


async def _retry_failing(campaign: Campaign, end: float) -> None:
    """Mend what a job failed of once it has completed, and retry it, until none is left."""
    retried: set[str] = set()
    while monotonic() < end or _failing(campaign) - retried:
        for name in sorted(_failing(campaign) - retried):
            [job_id] = [i for i, n in campaign.names.items() if n == name]
            if await _state(campaign, job_id) is State.COMPLETED:
                await _retry(campaign, job_id)
                retried.add(name)
        await asyncio.sleep(_LOOK_EVERY_S)


async def _retry(campaign: Campaign, job_id: str) -> None:
    url = mend_url(campaign.names[job_id], campaign.port)
    await asyncio.to_thread(lambda: urllib.request.urlopen(url).close())
    await _allowed(lambda: campaign.yard.services.writer.retry_failed(LOCAL, job_id))


def _failing(campaign: Campaign) -> set[str]:
    """Return the jobs that fail, and are not cancelled."""
    expectations = campaign.wanted.values()
    return {
        expectation.job
        for expectation in expectations
        if expectation.fails and expectation.ends is State.COMPLETED
    }


def _ends_cancelled(campaign: Campaign, job_id: str) -> None:
    name = campaign.names[job_id]
    campaign.wanted[name] = replace(campaign.wanted[name], ends=State.CANCELLED)


async def _try_move(campaign: Campaign, move: Callable[[], Awaitable[Job]]) -> bool:
    """Make a move and note when it was answered; tell whether it was made."""
    job = await _allowed(move)
    if job is None:
        return False
    name = campaign.names[job.id]
    campaign.said.append(Acknowledgement(job=name, state=job.state, at=monotonic()))
    return True


async def _state(campaign: Campaign, job_id: str) -> State:
    standing = await patiently(lambda: find_job(campaign.yard.store, LOCAL, job_id))
    return standing.job.state


async def _allowed(move: Callable[[], Awaitable[T]]) -> T | None:
    """Make a move that may come too late: the job may have ended, or gone on already."""
    try:
        return await patiently(move)
    except IllegalMove:
        return None
