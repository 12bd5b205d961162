"""A page of a list has the first jobs of all that are asked for, and reads few others."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.filter import fits, parse
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.store.jobs import jobs as counting
from crawlyard.store.jobs import where
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_job, a_spec
from tests.conformance.statements import planned
from tests.conformance.steps import added, claimed, in_state, recorded

FEW = ("jobs_retries", "jobs_undated")
"""Indexes of few jobs, which may be read from one end to the other."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def find_ids(store: Store, query: JobQuery, limit: int = 100) -> list[str]:
    return [s.job.id for s in await store.jobs.find(query, limit)]


async def jobs_in_turns(store: Store) -> list[Job]:
    """Add twelve jobs: of two states, users, templates and schedules in turns; newest first."""
    ids = a_job().id, a_job().id
    jobs = []
    for n in range(12):
        state = (State.FAILED, State.PENDING)[n // 2 % 2]
        origin = Origin(template_id=ids[n % 2], template_version=1, schedule_id=ids[n // 4 % 2])
        jobs.append(await added(store, in_state(state, owner="ab"[n % 2], origin=origin)))
    return sorted(jobs, key=lambda job: job.id, reverse=True)


@pytest.mark.parametrize("of", ["states", "owner", "template", "schedule"])
async def test_of_several_words_the_newest_are_shown_whichever_word_they_fit(
    store: Store, of: str
) -> None:
    jobs = await jobs_in_turns(store)
    ids = [job.id for job in jobs]
    origins = [job.origin for job in jobs]
    words = {
        "states": "state:failed,pending",
        "owner": "owner:a,b,a",
        "template": f"template:{','.join(sorted({str(o.template_id) for o in origins}))}",
        "schedule": f"schedule:{','.join(sorted({str(o.schedule_id) for o in origins}))}",
    }[of]
    query = JobQuery(where=parse(words))

    assert await find_ids(store, query) == ids
    assert await find_ids(store, query, 5) == ids[:5]
    assert sum((await store.jobs.counts(query, 100)).values()) == len(ids)
    behind = JobQuery(where=parse(words), before=ids[4])
    assert await find_ids(store, behind, 4) == ids[5:9]
    oldest = JobQuery(where=parse(words), oldest_first=True)
    assert await find_ids(store, oldest, 3) == ids[::-1][:3]


async def test_the_filter_takes_the_words_that_jobs_are_shown_with(store: Store) -> None:
    done, rest = Usage(discovered=9, done=3), Usage(discovered=9, done=9)
    for move, reason, usage in (
        (Move.COMPLETE, StateReason.LIMIT_PAGES, done),
        (Move.COMPLETE, StateReason.LIMIT_PAGES, rest),  # all its URLs were fetched
        (Move.COMPLETE, StateReason.EXHAUSTED, done),
        (Move.CANCEL, StateReason.BY_USER, done),
        (Move.CANCEL, StateReason.BY_USER, Usage()),
        (Move.CANCEL, StateReason.BY_SCHEDULE, done),
    ):
        claim = await claimed(store, await added(store))
        await recorded(store, claim.lease, Batch(usage=usage))
        job = (await store.jobs.get(claim.job.id)).job
        await store.leases.settle(
            claim.lease, *job.apply_move(move, NOW, actor="worker:w1", reason=reason)
        )
    await added(store)
    every = await store.jobs.find(JobQuery(), 100)

    for text, count in {
        "state:waiting": 1,
        "state:pending,waiting": 1,
        "-state:waiting": 6,
        "state:stopped": 2,
        "-state:stopped": 5,
        "state:stopped,completed": 4,
        "state:completed,cancelled": 6,
        "state:stopped state:cancelled": 1,
    }.items():
        query = JobQuery(where=parse(text))
        conditions = [
            s.job.id for s in every if all(fits(c, s.job, s.shard.usage) for c in query.where)
        ]
        assert len(conditions) == count, text
        assert await find_ids(store, query) == conditions, text
        assert sum((await store.jobs.counts(query)).values()) == count, text


async def test_states_of_a_query_and_words_of_its_filter_must_both_fit(store: Store) -> None:
    jobs = await jobs_in_turns(store)
    query = JobQuery(
        states=frozenset({State.FAILED, State.PENDING}),
        where=parse("owner:a,c state:failed,paused"),
    )

    job_ids = await find_ids(store, query)

    assert job_ids == [j.id for j in jobs if j.owner == "a" and j.state is State.FAILED]


async def test_tags_that_few_jobs_have_are_found_among_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, "RARE", 3)
    monkeypatch.setattr(counting, "_FEW_TO_COUNT", 3)
    jobs = []
    for n in range(8):
        tags = tuple(tag for tag, every in (("all", 1), ("half", 2), ("few", 4)) if n % every == 0)
        jobs.append(await added(store, spec=a_spec(tags=tags)))

    for text in ("tag:all", "tag:half", "tag:few", "tag:none", "tag:few,none", "tag:all tag:few"):
        query = JobQuery(where=parse(text))
        fit = [j.id for j in reversed(jobs) if all(fits(term, j) for term in query.where)]
        assert await find_ids(store, query) == fit
        assert sum((await store.jobs.counts(query)).values()) == len(fit)
        assert sum((await store.jobs.counts(query, 100)).values()) == len(fit)
    few = frozenset({"all", "few"})
    assert await find_ids(store, JobQuery(tags=few)) == [jobs[4].id, jobs[0].id]
    without = JobQuery(where=parse("-tag:few"))
    assert (
        len(await find_ids(store, without)) == sum((await store.jobs.counts(without)).values()) == 6
    )


async def test_hosts_and_words_that_few_jobs_have_are_found_among_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, "RARE", 3)
    monkeypatch.setattr(counting, "_FEW_TO_COUNT", 3)
    jobs = []
    for n in range(8):
        hosts = [f"{part}.example" for part, every in (("half", 2), ("few", 4)) if n % every == 0]
        urls = tuple(f"http://{host}/" for host in ("all.example", *hosts))
        state = State.FAILED if n % 3 == 0 else State.PENDING
        jobs.append(await added(store, in_state(state, spec=a_spec(urls=urls, name=f"Job {n}%"))))

    for text in (
        "host:all.example",
        "host:half.example",
        "host:few.example",
        "host:none.example",
        "host:few.example,none.example",
        "host:all.example -host:few.example",
        "host:half.example state:failed,pending",
        "ALL.example",
        "FEW",
        "none",
        '"job 4%" all',
        "few half state:failed,pending",
        "-few",
    ):
        query = JobQuery(where=parse(text))
        fit = [j.id for j in reversed(jobs) if all(fits(term, j) for term in query.where)]
        assert await find_ids(store, query) == fit, text
        assert await find_ids(store, query, 2) == fit[:2]
        assert sum((await store.jobs.counts(query)).values()) == len(fit)
        assert sum((await store.jobs.counts(query, 100)).values()) == len(fit)
    assert await find_ids(store, JobQuery(text="JOB 4")) == [jobs[4].id]


def id_of(created_at: datetime, number: int) -> str:
    """Return the id of a job of that instant."""
    ms = f"{(created_at - EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{ms[:8]}-{ms[8:]}-7000-8000-{number:012}"


async def test_jobs_are_selected_by_creation_time_not_by_id(store: Store) -> None:
    hour = timedelta(hours=1)
    jobs = [
        await added(
            store, a_job(id=id_of(NOW + said_days * hour, n), created_at=NOW + made_days * hour)
        )
        for n, (said_days, made_days) in enumerate(
            [(0, 0), (1, 1), (2, 2), (3, 3), (4, 1), (9, 2), (-9, 3)]
        )
    ]
    second = timedelta(seconds=1)
    for n, late in enumerate((-90, -59, 59, 90), start=10):
        at = NOW + 2 * hour
        jobs.append(await added(store, a_job(id=id_of(at + late * second, n), created_at=at)))
    jobs.append(await added(store, a_job(id="an-odd-one", created_at=NOW + hour)))
    newest = sorted(jobs, key=lambda job: job.id, reverse=True)

    hours = [(NOW + n * hour).isoformat() for n in range(5)]
    for text in (
        f"created_after:{hours[1]}",
        f"created_before:{hours[2]}",
        f"created_after:{hours[1]} created_before:{hours[2]}",
        f"created_after:{hours[2]} created_before:{hours[2]}",
        f"created_after:{hours[3]},{hours[1]} created_before:{hours[2]},{hours[0]}",
        f"-created_before:{hours[2]}",
        f"created_after:{hours[1]} -created_after:{hours[3]} state:pending,failed",
        "created_after:0001-01-01",
        "created_before:9999-12-31",
        "created_after:9999-12-31",
    ):
        query = JobQuery(where=parse(text))
        fit = [j.id for j in newest if all(fits(term, j) for term in query.where)]
        assert await find_ids(store, query) == fit, text
        assert await find_ids(store, query, 3) == fit[:3]
        assert await find_ids(store, replace(query, oldest_first=True), 3) == fit[::-1][:3]
        assert sum((await store.jobs.counts(query)).values()) == len(fit)
        assert sum((await store.jobs.counts(query, 100)).values()) == len(fit)


@pytest.mark.parametrize("part", ["", "0", "019", "7a", "b3c", "2b3c", "00000012b3c"])
async def test_a_job_is_found_by_any_part_that_its_id_begins_or_ends_with(
    store: Store, part: str
) -> None:
    ids = [
        "01990000-0000-7000-8000-00000012b3c7",
        "01990000-0000-7000-8000-00000012b3c8",
        "7a990000-0000-7000-8000-00000012b3c7",
        "02990000-0000-7000-8000-000000000019",
        "03990000-0000-7000-8000-00000012b37a",
        "03990000-0000-7000-8000-00000012b3c0",
    ]
    for job_id in ids:
        await added(store, a_job(id=job_id))

    for id_part in (part, part + "7", part + "8"):
        fit = [i for i in sorted(ids, reverse=True) if i.startswith(id_part) or i.endswith(id_part)]
        assert await find_ids(store, JobQuery(id_part=id_part.upper())) == fit
        assert await find_ids(store, JobQuery(id_part=id_part), 1) == fit[:1]
        assert sum((await store.jobs.counts(JobQuery(id_part=id_part), 100)).values()) == len(fit)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "state:running",
        "state:failed,pending",
        "owner:ada state:running",
        "owner:ada",
        "priority:urgent",
        "origin:retry",
        "template:01900000-0000-7000-8000-000000000001",
        "schedule:01900000-0000-7000-8000-000000000002",
        "schedule:01900000-0000-7000-8000-000000000002 state:failed",
        "created_after:2026-01-02 created_before:2026-01-03",
        "created_before:2026-01-03 state:failed",
    ],
)
async def test_a_list_is_read_along_an_index(
    sqlite_template: Path, tmp_path: Path, words: str
) -> None:
    file = str(shutil.copy(sqlite_template, tmp_path))
    query = JobQuery(where=parse(words))

    *_, (_, plan) = await planned(file, lambda store: store.jobs.find(query, 50))

    picks = [step for step in plan if step.startswith(("SEARCH jobs", "SCAN jobs", "SCAN shards"))]
    ordered = [step for step in picks if "INDEX" in step and "jobs" in step]
    if not words:
        assert "SCAN jobs USING INDEX sqlite_autoindex_jobs_1" in " ".join(ordered)
    else:
        read = [step for step in ordered if not step.startswith("SEARCH jobs")]
        assert all(step.endswith(FEW) for step in read)
    assert "SCAN shards" not in " ".join(plan)
    # only the listed rows are sorted
    assert sum("ORDER BY" in step for step in plan) == 1
    if "schedule" in words:  # of its own few jobs, not of all that failed
        assert any("INDEX jobs_schedule (schedule_id=?" in step for step in ordered)
    if "created" in words:
        assert any("id>?" in step or "id<?" in step for step in ordered)
