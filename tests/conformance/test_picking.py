"""A page of a list has the first jobs of all that are asked for, and reads few others."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from crawlyard.core.filter import fits, parse
from crawlyard.core.job import Job, Origin
from crawlyard.core.lifecycle import State
from crawlyard.store.base import JobQuery, Store
from crawlyard.store.sql import open_sql_store, picking
from tests.builders import a_job, a_spec
from tests.conformance.steps import added, in_state


async def found(store: Store, query: JobQuery, limit: int = 100) -> list[str]:
    return [s.job.id for s in await store.jobs.find(query, limit)]


async def jobs_in_turns(store: Store) -> list[Job]:
    """Add twelve jobs: of two states, users, templates and schedules in turns; newest first."""
    ids = a_job().id, a_job().id
    made = []
    for n in range(12):
        state = (State.FAILED, State.PENDING)[n // 2 % 2]
        origin = Origin(template_id=ids[n % 2], template_version=1, schedule_id=ids[n // 4 % 2])
        made.append(await added(store, in_state(state, owner="ab"[n % 2], origin=origin)))
    return sorted(made, key=lambda job: job.id, reverse=True)


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

    assert await found(store, query) == ids
    assert await found(store, query, 5) == ids[:5]
    behind = JobQuery(where=parse(words), before=ids[4])
    assert await found(store, behind, 4) == ids[5:9]
    oldest = JobQuery(where=parse(words), oldest_first=True)
    assert await found(store, oldest, 3) == ids[::-1][:3]


async def test_states_of_a_query_and_words_of_its_filter_must_both_fit(store: Store) -> None:
    jobs = await jobs_in_turns(store)
    query = JobQuery(
        states=frozenset({State.FAILED, State.PENDING}),
        where=parse("owner:a,c state:failed,paused"),
    )

    shown = await found(store, query)

    assert shown == [j.id for j in jobs if j.owner == "a" and j.state is State.FAILED]


async def test_tags_that_few_jobs_have_are_found_among_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picking, "RARE", 3)
    jobs = []
    for n in range(8):
        tags = tuple(tag for tag, every in (("all", 1), ("half", 2), ("few", 4)) if n % every == 0)
        jobs.append(await added(store, spec=a_spec(tags=tags)))

    for text in ("tag:all", "tag:half", "tag:few", "tag:none", "tag:few,none", "tag:all tag:few"):
        query = JobQuery(where=parse(text))
        fit = [j.id for j in reversed(jobs) if all(fits(one, j) for one in query.where)]
        assert await found(store, query) == fit
        assert sum((await store.jobs.counts(query)).values()) == len(fit)
    few = frozenset({"all", "few"})
    assert await found(store, JobQuery(tags=few)) == [jobs[4].id, jobs[0].id]
    without = JobQuery(where=parse("-tag:few"))
    assert len(await found(store, without)) == sum((await store.jobs.counts(without)).values()) == 6


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

    for asked in (part, part + "7", part + "8"):
        fit = [i for i in sorted(ids, reverse=True) if i.startswith(asked) or i.endswith(asked)]
        assert await found(store, JobQuery(id_part=asked.upper())) == fit
        assert await found(store, JobQuery(id_part=asked), 1) == fit[:1]


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
        f"template:{a_job().id}",
        f"schedule:{a_job().id}",
    ],
)
async def test_a_list_is_read_along_an_index(
    sqlite_template: Path, tmp_path: Path, words: str
) -> None:
    file = shutil.copy(sqlite_template, tmp_path)
    asked: list[tuple[str, Any]] = []

    def note(conn: object, cursor: object, statement: str, given: Any, *_: object) -> None:
        asked.append((statement, given))

    store = await open_sql_store(str(file))
    event.listen(Engine, "before_cursor_execute", note)
    try:
        await store.jobs.find(JobQuery(where=parse(words)), 50)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        await store.close()
    with closing(sqlite3.connect(file)) as conn:
        statement, given = asked[-1]
        plan = [row[-1] for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}", given)]

    picks = [step for step in plan if step.startswith(("SEARCH jobs", "SCAN jobs", "SCAN shards"))]
    ordered = [step for step in picks if "INDEX" in step and "jobs" in step]
    if not words:
        assert "SCAN jobs USING INDEX sqlite_autoindex_jobs_1" in " ".join(ordered)
    else:
        assert all(step.startswith("SEARCH jobs") or "jobs_retries" in step for step in ordered)
    assert "SCAN shards" not in " ".join(plan)
    # what is shown is sorted, and nothing else
    assert sum("ORDER BY" in step for step in plan) == 1
