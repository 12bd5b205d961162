"""Submitting, running and reading crawls: the same on `open` and `connect`."""

import asyncio
from datetime import timedelta

import pytest
from msgspec import json

from crawlyard import JobSpec, Limits, every
from crawlyard.core.endpoints.endpoint import KEY
from crawlyard.core.operations.bulk import JobAction
from crawlyard.errors import Invalid, Refused, Unavailable
from crawlyard.services.surface import Surface, every_endpoint
from tests.web.crawled import crawled
from tests.web.rig import URL, Rig


async def test_a_url_keywords_a_spec_and_a_mapping_make_the_same_job(yard: Surface) -> None:
    spec = JobSpec(urls=(URL,), limits=Limits(pages=3), tags=("docs",))
    jobs = [
        await yard.jobs.create(URL, max_pages=3, tag="docs"),
        await yard.jobs.create([URL], limits={"pages": 3}, tags=["docs"]),
        await yard.jobs.create(spec),
        await yard.jobs.create({"urls": [URL], "limits": {"pages": 3}, "tags": ["docs"]}),
    ]
    schedules = [
        await yard.schedules.create("a", "@daily", URL, max_pages=3, tag="docs"),
        await yard.schedules.create("b", "@daily", spec),
        await yard.schedules.create("c", "@daily", overrides={"urls": [URL]}, max_pages=3),
    ]

    assert [job.spec for job in jobs] == [jobs[0].spec] * 4
    assert jobs[0].spec.limits.pages == 3
    for schedule in schedules:
        job = await yard.schedules.run(schedule.id)
        assert ([*job.spec.urls], job.spec.limits.pages) == ([URL], 3)


async def test_an_option_over_a_template_takes_its_limit_away(yard: Surface) -> None:
    await yard.templates.create({"name": "docs", "spec": {"urls": [URL], "limits": {"pages": 3}}})

    job = await yard.jobs.create(template="docs", name="kept")
    endless = await yard.jobs.create(template="docs", max_pages=None)

    assert (job.spec.limits.pages, endless.spec.limits.pages) == (3, None)
    schedule = await yard.schedules.create("s", "@daily", template="docs", max_pages=None)
    assert (await yard.schedules.run(schedule.id)).spec.limits.pages is None


async def test_an_unknown_option_is_named_with_the_nearest(yard: Surface) -> None:
    for call in (
        yard.jobs.create(URL, max_page=3),
        yard.jobs.run(URL, max_page=3),
        yard.schedules.create("s", "@daily", URL, max_page=3),
    ):
        with pytest.raises(Invalid) as refused:
            await call
        assert str(refused.value) == "max_page: unknown option; did you mean max_pages?"
    assert (await yard.jobs.counts()).total == 0


async def test_waiting_without_a_worker_fails_after_a_second(rig: Rig, yard: Surface) -> None:
    job = await yard.jobs.create(URL)
    waiting = asyncio.create_task(yard.jobs.wait(job.id, timeout_s=None))

    await rig.clock.advance(timedelta(seconds=0.9))
    assert not waiting.done()
    await rig.clock.advance(timedelta(seconds=0.3))

    with pytest.raises(Unavailable, match=f"job {job.id} is queued, but no worker is alive"):
        await asyncio.wait_for(waiting, 5)


async def test_a_short_wait_and_one_for_a_worker_return_the_queued_job(
    rig: Rig, yard: Surface
) -> None:
    job = await yard.jobs.create(URL)
    short = asyncio.create_task(yard.jobs.wait(job.id, timeout_s=0.5))
    for_a_worker = yard.jobs.wait(job.id, timeout_s=90, without_worker=True)
    long = asyncio.create_task(for_a_worker)

    await rig.clock.advance(timedelta(seconds=89))
    assert (short.done(), long.done()) == (True, False)
    await rig.clock.advance(timedelta(seconds=2))

    assert [(await asyncio.wait_for(task, 5)).state for task in (short, long)] == ["pending"] * 2


async def test_waiting_returns_once_the_state_is_another(rig: Rig, yard: Surface) -> None:
    job = await yard.jobs.create(URL)
    until_paused = yard.jobs.wait(job.id, timeout_s=None, states="paused", without_worker=True)
    until_moved = yard.jobs.wait(job.id, timeout_s=None, without_worker=True)
    waiting = [asyncio.create_task(until_paused), asyncio.create_task(until_moved)]

    await rig.clock.advance(timedelta(seconds=100))
    assert not any(task.done() for task in waiting)
    await yard.jobs.pause(job.id)
    await rig.clock.advance(timedelta(seconds=2))

    assert [(await asyncio.wait_for(task, 5)).state for task in waiting] == ["paused"] * 2


async def test_pages_come_with_the_text_that_the_job_kept(rig: Rig, yard: Surface) -> None:
    job_id, _ = await crawled(rig)

    pages = [page async for page in yard.jobs.pages(job_id)]
    listed = [page async for page in every(yard.results.pages, job_id)]
    bare = [page async for page in yard.jobs.pages(job_id, include=())]
    some = [page async for page in every(yard.jobs.pages, job_id, limit=2, failed=False)]

    assert [page.id for page in pages] == [page.id for page in listed]
    assert [page.id for page in some] == [page.id for page in pages if page.error is None][:2]
    assert any(page.text for page in pages)
    assert bare == listed


async def test_a_second_call_with_the_same_key_returns_what_the_first_did(yard: Surface) -> None:
    jobs = [await yard.jobs.create(URL, max_pages=3, idempotency_key="a") for _ in range(2)]
    schedules = [
        await yard.schedules.create("s", "@daily", URL, idempotency_key="b") for _ in range(2)
    ]
    tokens = [await yard.tokens.create("t", idempotency_key="c") for _ in range(2)]
    runs = [await yard.schedules.run("s", idempotency_key="d") for _ in range(2)]
    await yard.jobs.cancel(jobs[0].id)
    retries = [await yard.jobs.retry(jobs[0].id, idempotency_key=key) for key in ("e", "e", "f")]

    for first, second in (jobs, schedules):
        assert json.encode(first) == json.encode(second)
    assert tokens[0].token is not None
    assert tokens[1].token is None  # it is shown once
    assert tokens[0].id == tokens[1].id
    assert runs[0].id == runs[1].id
    assert retries[0].id == retries[1].id != retries[2].id
    assert (await yard.jobs.counts()).total == 4


async def test_a_second_job_with_a_unique_key_is_the_first(yard: Surface) -> None:
    first = await yard.jobs.create(URL, unique_key="a")
    second = await yard.jobs.create("https://other.example/", unique_key="a")
    forms = [{"urls": [URL], "unique_key": key} for key in ("a", "b", "b")]
    batch, repeated = [await yard.jobs.submit_many(forms, idempotency_key="c") for _ in range(2)]
    planned = await yard.jobs.plan({"urls": [URL], "unique_key": "a"})

    assert second.id == planned.existing_id == first.id
    assert batch == repeated
    ids = [result.id for result in batch.results]
    assert (ids[0], ids[1] == ids[2] != first.id) == (first.id, True)
    assert (await yard.jobs.counts()).total == 2
    group = await yard.groups.get(batch.group_id or "")
    assert group.jobs == 1  # the first job has no group


async def test_a_key_belongs_to_one_call_that_succeeded(yard: Surface) -> None:
    with pytest.raises(Invalid):
        await yard.jobs.create(URL, max_pages=0, idempotency_key="a")
    await yard.jobs.create(URL, idempotency_key="a")
    with pytest.raises(Refused) as reused:
        await yard.jobs.create(URL, max_pages=9, idempotency_key="a")
    with pytest.raises(Invalid):
        await yard.jobs.create(URL, idempotency_key="\n")
    for dry_run in (True, False):  # a dry run does nothing, and uses up no key
        done = await yard.jobs.bulk(
            JobAction.CANCEL, filter={"state": "pending"}, dry_run=dry_run, idempotency_key="b"
        )

    assert "was used for another" in str(reused.value)
    assert (done.count, done.succeeded) == (1, 1)


def test_all_that_creates_takes_an_idempotency_key() -> None:
    creating = [endpoint for endpoint in every_endpoint() if endpoint.status == 201]
    missing = [endpoint.name for endpoint in creating if KEY not in endpoint.signature.parameters]

    assert len(creating) > 7
    assert missing == []
