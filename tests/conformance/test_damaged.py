"""Unreadable rows are shown as damaged, and don't hide the other rows."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select, update

from crawlyard.core.crawl.page import ErrorKind, PageError
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.errors import Invalid, NotFound
from crawlyard.store.codec.base import UNREADABLE
from crawlyard.store.queries import ArchiveQuery, JobQuery, PageQuery, TemplateQuery
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs, pages, shards
from crawlyard.store.tables.templates import template_versions
from tests.builders import LEASE, NOW, a_batch, a_job, a_spec, a_target, done, its_event
from tests.builders_templates import a_template, template_event
from tests.conformance.steps import added, claimed, database_of, recorded

pytestmark = pytest.mark.parametrize(
    "backend", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)

SPEC = {"urls": ["https://a.example/"], "name": "news", "tags": ["daily"]}

DAMAGE: list[tuple[Mapping[str, Any], str]] = [
    ({"spec": json.dumps(SPEC | {"tags": "docs"})}, "spec: tags: Expected `array`, got `str`"),
    ({"spec": json.dumps(SPEC | {"scope": "prefx"})}, "spec: scope: Invalid enum value 'prefx'"),
    ({"spec": json.dumps(SPEC | {"priority": "top"})}, "spec: priority: Invalid enum value 'top'"),
    ({"spec": json.dumps(SPEC | {"per_host": 0})}, "spec: per_host: expected 1 to 256, got 0"),
    (
        {"spec": json.dumps(SPEC | {"limits": {"pages": 0}})},
        "spec: limits.pages: expected more than 0, got 0",
    ),
    ({"spec": json.dumps({"urls": 3})}, "spec: urls: Expected `array`, got `int`"),
    ({"spec": "[]"}, "spec: not a JSON object"),
    ({"spec": '{"urls": ['}, "spec: not a JSON object"),
    ({"spec": ""}, "spec: not a JSON object"),
    ({"given": "{"}, "given: "),
    ({"by_grant": '["everything"]'}, "by_grant: "),
    ({"state_reason": "bored"}, "state_reason: "),
    ({"level": 99}, "level: "),
    ({"created_at": 2**62}, "created_at: "),
]


async def damaged(store: Store, job: Job, columns: Mapping[str, Any]) -> None:
    """Write something else to the row of *job*, as no program of ours does."""
    plain = {name: value for name, value in columns.items() if name != "created_at"}

    def by_hand(conn: Any) -> None:
        if plain:
            conn.execute(update(jobs).where(jobs.c.id == job.id).values(plain))
        for name in columns.keys() - plain.keys():
            sql = f"UPDATE jobs SET {name} = {columns[name]} WHERE id = '{job.id}'"
            conn.exec_driver_sql(sql)

    await database_of(store).write(by_hand)


async def test_what_another_version_of_the_program_wrote_is_read(store: Store) -> None:
    job = await added(store, a_job(spec=a_spec(per_host=3)))
    spec = SPEC | {"per_host": 9_999, "limits": {"pages": 7, "words": 3}, "render": "auto"}
    await damaged(store, job, {"spec": json.dumps(spec)})  # of a newer one: as an older has less

    read = (await store.jobs.get(job.id)).job

    assert (read.damaged, read.spec.per_host, read.spec.limits.pages) == ("", 9_999, 7)
    assert (read.spec.delay_s, read.spec.tags) == (a_spec().delay_s, ("daily",))
    with pytest.raises(Invalid, match="per_host: expected 1 to 256, got 9999"):
        JobSpec(urls=("https://a.example/",), per_host=9_999)


async def test_a_list_shows_the_damaged_job_beside_all_others(store: Store) -> None:
    sound = await added(store)
    for columns, reason in DAMAGE:
        job = await added(store, a_job(spec=a_spec(name="news")))
        await damaged(store, job, columns)

        jobs_by_id = {s.job.id: s.job for s in await store.jobs.find(JobQuery(), 100)}

        assert jobs_by_id[sound.id] == sound
        assert jobs_by_id[job.id].damaged[: len(reason)] == reason, columns
        assert jobs_by_id[job.id].spec.urls, columns
        assert (jobs_by_id[job.id].spec.name, jobs_by_id[job.id].state) == ("news", State.PENDING)
        assert (await store.jobs.get(job.id)).job.damaged
        assert sum((await store.jobs.counts()).values()) == 2
        event = its_event(jobs_by_id[job.id], EventName.DELETED)
        await store.jobs.delete(job.id, job.version, event)
        with pytest.raises(NotFound):
            await store.jobs.get(job.id)


async def test_what_can_be_read_of_a_damaged_spec_is_shown(store: Store) -> None:
    job = await added(store)
    await damaged(store, job, {"spec": json.dumps(SPEC | {"text": "md", "keep_html": True})})

    spec = (await store.jobs.get(job.id)).job.spec

    assert (spec.urls, spec.tags, spec.keep_html) == (("https://a.example/",), ("daily",), True)


async def test_a_move_leaves_a_damaged_spec_as_it_is_stored(store: Store) -> None:
    job = await added(store)
    text = json.dumps(SPEC | {"tags": "docs"})
    await damaged(store, job, {"spec": text})
    read = (await store.jobs.get(job.id)).job

    await store.jobs.save(*read.apply_move(Move.CANCEL, NOW, actor="local"))

    after = (await store.jobs.get(job.id)).job
    assert (after.state, after.damaged) == (State.CANCELLED, read.damaged)
    stored = select(jobs.c.spec)
    assert await database_of(store).read(lambda conn: conn.scalar(stored)) == text


async def test_everything_that_reads_jobs_gets_past_a_damaged_one(store: Store) -> None:
    later = NOW + timedelta(days=100)
    origin = Origin(schedule_id="s1", tick_at=NOW)
    for state, reason in (
        (State.PENDING, StateReason.WAITING_SLOT),
        (State.PAUSED, StateReason.BY_USER),
        (State.COMPLETED, StateReason.EXHAUSTED),
    ):
        ended = NOW if state.ended else None
        job = a_job(state=state, state_reason=reason, ended_at=ended, origin=origin)
        await added(store, job)
        await damaged(store, job, {"spec": "{"})
    claimed_job = (await claimed(store)).job
    await damaged(store, claimed_job, {"spec": "{"})

    assert len(await store.jobs.find(JobQuery(), 10)) == 4
    assert len(await store.upkeep.find_expired(later, timedelta(days=1), 10)) == 1
    assert len(await store.upkeep.find_paused(later, 10)) == 1
    assert len(await store.overview.find_paused(None, later, (), 10)) == 1
    assert len((await store.ticks.active(["s1"]))["s1"]) == 2
    [back] = await store.leases.take_back(
        NOW + LEASE,
        ("w1",),
        lambda job: job.lose_worker(NOW + LEASE, actor="janitor", in_child=False),
    )
    assert (back.id, back.state) == (claimed_job.id, State.PENDING)
    assert [job.id for job in await store.overview.find_damaged(10, 100)] == [
        s.job.id for s in await store.jobs.find(JobQuery(), 10)
    ]


async def test_a_damaged_job_is_claimed_as_any_other_for_its_worker_to_fail_it(
    store: Store,
) -> None:
    job = await added(store, a_job(spec=a_spec(priority=Priority.HIGH)))
    sound = await added(store)
    await damaged(store, job, {"spec": "{"})

    claims = [await store.leases.claim(Asker("w1"), NOW, LEASE) for _ in range(3)]

    assert [claim and claim.job.id for claim in claims] == [job.id, sound.id, None]
    first = claims[0]
    assert first is not None
    assert first.job.damaged


async def test_a_damaged_shard_is_read_without_its_progress(store: Store) -> None:
    job = await added(store)
    values = {"pulse": "{", "budget": "["}
    await database_of(store).write(lambda c: c.execute(update(shards).values(values)))

    assert (await store.jobs.get(job.id)).job == job


async def test_a_damaged_template_is_listed_with_what_is_wrong_and_no_job_can_be_made_of_it(
    store: Store,
) -> None:
    sound = a_template(name="sound")
    await store.templates.add(sound, template_event(sound))
    for columns in ({"spec": "{"}, {"spec": "[]"}, {"parameters": "{"}, {"parameters": "[3]"}):
        template = a_template(name="broken")
        await store.templates.add(template, template_event(template))
        broken = update(template_versions).where(template_versions.c.template_id == template.id)
        await database_of(store).write(lambda conn: conn.execute(broken.values(columns)))  # noqa: B023

        templates_by_id = {t.id: t for t in await store.templates.find(TemplateQuery(), 10)}

        assert templates_by_id[sound.id] == sound
        assert templates_by_id[template.id].description.startswith(
            "damaged: its row cannot be read ("
        )
        assert templates_by_id[template.id].spec == {}
        await store.templates.delete(
            template.id, 1, template_event(template, EventName.TEMPLATE_DELETED)
        )


DAMAGED_PAGES: list[tuple[Mapping[str, Any], str]] = [
    ({"extracted": "{"}, "extracted"),
    ({"extracted": "[1]"}, "extracted"),
    ({"extracted": '{"price": 3}'}, "extracted"),
    ({"structured": "nothing", "error": "bored"}, "structured, error"),
    ({"structured": "[1]"}, "structured"),
    ({"fetched_at": UNREADABLE}, "fetched_at"),
]


async def test_a_damaged_page_is_listed_searched_and_counted_beside_all_others(
    store: Store,
) -> None:
    claim = await claimed(store)
    targets = [a_target("sound"), a_target("broken")]
    await recorded(store, claim.lease, a_batch(targets, [done(t) for t in targets]))
    [sound, broken] = await store.pages.pages(claim.job.id, PageQuery(), 10)
    for columns, names in DAMAGED_PAGES:
        empty = {"extracted": None, "structured": None, "error": None}
        change = update(pages).where(pages.c.id == broken.id).values({**empty, **columns})
        await database_of(store).write(lambda conn: conn.execute(change).close())  # noqa: B023

        listed = await store.pages.pages(claim.job.id, PageQuery(), 10)
        search = await store.archive.look(ArchiveQuery(), 10)
        groups = await store.pages.errors(claim.job.id)

        detail = f"damaged: its row cannot be read ({names})"
        error = PageError(kind=ErrorKind.INTERNAL, detail=detail)
        instants = {name: value for name, value in columns.items() if name == "fetched_at"}
        damaged_page = replace(broken.page, error=error, **instants)
        assert listed == [sound, replace(broken, page=damaged_page)]
        assert [(page.id, page.page) for page in search.pages] == [
            (broken.id, damaged_page),
            (sound.id, sound.page),
        ]
        assert [group.kind for group in groups] == [ErrorKind.INTERNAL] * ("error" in columns)
