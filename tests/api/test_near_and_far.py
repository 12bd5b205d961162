"""The surface does the same in this process and over HTTP."""

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from crawlyard import LOCAL, every
from crawlyard.core.jobs.bulk import JobAction, RetryScope
from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import IllegalMove, Invalid, NotFound, Stale
from crawlyard.export.base import Format
from crawlyard.services.surface import ENDPOINTS, Surface
from tests.api.conftest import far_side
from tests.web.crawled import crawled, in_state
from tests.web.rig import URL, Rig

FORM = {"urls": [URL], "name": "docs", "priority": "high", "limits": {"pages": 3}}


async def test_a_job_is_made_changed_moved_and_deleted(yard: Surface) -> None:
    job = await yard.jobs.create(FORM)
    assert (job.spec.name, job.state, job.spec.priority, job.spec.limits.pages) == (
        "docs",
        "pending",
        "high",
        3,
    )

    paused = await yard.jobs.pause(job.id, "a break", version=job.version)
    edited = await yard.jobs.edit(job.id, {"limits": {"pages": None}}, version=paused.version)
    assert (paused.state, paused.detail) == ("paused", "a break")
    assert edited.spec.limits.pages is None

    for act in (yard.jobs.resume, yard.jobs.cancel):
        moved = await act(job.id)
    assert moved.state == "cancelled"
    assert (await yard.jobs.deletable(job.id)).job_id == job.id
    await yard.jobs.delete(job.id)
    with pytest.raises(NotFound):
        await yard.jobs.get(job.id)


async def test_what_is_wrong_is_said_in_the_same_words(yard: Surface) -> None:
    job = await yard.jobs.create(FORM)

    with pytest.raises(Invalid) as invalid:
        await yard.jobs.create({"urls": [URL], "limits": {"pages": 0}})
    with pytest.raises(Stale) as stale:
        await yard.jobs.cancel(job.id, version=7)
    with pytest.raises(IllegalMove) as illegal:
        await yard.jobs.delete(job.id)
    with pytest.raises(Invalid) as unknown:
        await yard.jobs.counts(state="done")

    assert (invalid.value.field, stale.value.current) == ("limits.pages", 1)
    assert str(invalid.value) == "limits.pages: expected more than 0, got 0"
    assert "pending" in str(illegal.value)
    assert unknown.value.field == "state"


async def test_lists_are_walked_to_their_end(yard: Surface) -> None:
    made = [(await yard.jobs.create(FORM | {"tags": ["x"]})).id for _ in range(5)]
    await yard.jobs.create(FORM)

    part = await yard.jobs.list(tag="x", limit=2, count="exact")
    rest = await yard.jobs.list(tag="x", limit=200, cursor=part.next_cursor)
    walked = [job.id async for job in every(yard.jobs.list, tag=("x", "y"))]
    some = [job.id async for job in every(yard.jobs.list, limit=3)]

    assert (len(part.items), part.total, part.has_more) == (2, 5, True)
    assert [job.id for job in (*part.items, *rest.items)] == walked == made[::-1]
    assert len(some) == 3
    assert (await yard.jobs.counts(tag="x")).total == 5


async def test_many_jobs_at_once(yard: Surface) -> None:
    batch = await yard.jobs.submit_many([FORM, {"urls": []}, FORM])
    ids = tuple(one.id for one in batch.results if one.id)

    done = await yard.jobs.bulk(JobAction.CANCEL, ids=ids, reason="no")

    assert [one.ok for one in batch.results] == [True, False, True]
    assert (done.count, done.succeeded) == (2, 2)
    assert (await yard.jobs.plan(FORM)).limits.pages == 3


async def test_what_a_job_has_brought(rig: Rig, yard: Surface) -> None:
    job_id, _ = await crawled(rig)
    jobs = yard.jobs

    pages = [page async for page in every(jobs.pages, job_id)]
    failed = [page async for page in every(jobs.pages, job_id, failed=True)]
    lines = b"".join([piece async for piece in await jobs.export(job_id, format_=Format.JSONL)])
    one = await jobs.page(job_id, pages[0].id)

    assert [json.loads(line)["url"] for line in lines.splitlines()] == [p.url for p in pages]
    assert 0 < len(failed) < len(pages)
    assert sum(group.count for group in (await jobs.errors(job_id)).items) == len(failed)
    assert (one.url, one.id) == (pages[0].url, pages[0].id)
    assert (await jobs.wait(job_id, timeout_s=0)).state == (await jobs.get(job_id)).state
    assert (await jobs.events(job_id, limit=1)).items[0].name == "job.created"


async def test_what_is_none_is_taken_away(yard: Surface) -> None:
    schedule = await yard.schedules.create(
        "nightly", "0 3 * * *", overrides={"urls": [URL]}, runs_left=3
    )
    hook = await yard.webhooks.create("https://93.184.216.34/", events=("job.failed",))
    await yard.hosts.set("example.com", delay_s=2, at_once=1)

    assert (await yard.schedules.edit(schedule.id, runs_left=None)).runs_left is None
    assert (await yard.webhooks.edit(hook.id, events=None)).events == ("*",)
    rule = (await yard.hosts.set("example.com", delay_s=None)).rule
    assert rule is not None
    assert (rule.delay_s, rule.at_once) == (None, 1)


async def test_a_retry_says_how_many_urls_wait_again(rig: Rig, yard: Surface) -> None:
    job_id = await in_state(rig, State.COMPLETED)
    failed = (await yard.jobs.errors(job_id)).total

    again = await yard.jobs.retry(job_id, scope=RetryScope.FAILED)

    assert (again.id, again.state, again.urls) == (job_id, State.PENDING, failed)


async def test_both_sides_answer_alike(rig: Rig) -> None:
    job_id, _ = await crawled(rig)
    near = Surface(rig.yard.services, LOCAL)
    async with far_side(rig) as far:
        for name in ("get", "progress", "config", "attempts", "shards", "errors", "skipped_rules"):
            here = await getattr(near.jobs, name)(job_id)
            there = await getattr(far.jobs, name)(job_id)
            assert plain(there) == plain(here), name


def plain(shape: Any) -> Any:
    return json.loads(msgspec.json.encode(shape))


def test_every_endpoint_says_what_it_does_and_returns() -> None:
    for one in ENDPOINTS:
        assert (one.call.__doc__ or "").strip(), one.name
        assert one.returns is not Any, one.name


def test_a_connection_loads_no_database_and_no_engine() -> None:
    code = (
        "import sys, crawlyard; crawlyard.connect\n"
        "heavy = ('sqlalchemy', 'alembic', 'turbohtml', 'fastapi', 'procrastinate')\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in heavy))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "[]\n"
