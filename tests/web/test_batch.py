"""Many jobs submitted by one request: each is answered for itself."""

from typing import Any

from crawlyard.core.jobs.job import Job
from crawlyard.services.jobs.parameters import MOST_JOBS
from crawlyard.store.queries import JobQuery
from tests.builders_serve import quoted
from tests.web.rig import URL, Rig, problem

GOOD: dict[str, Any] = {"urls": [URL]}


async def there(rig: Rig) -> list[Job]:
    standings = await rig.yard.store.jobs.find(JobQuery(oldest_first=True), 100)
    return [standing.job for standing in standings]


async def test_jobs_of_a_batch_are_created_in_request_order(rig: Rig) -> None:
    forms = [GOOD | {"name": f"n{number}", "priority": "high"} for number in range(5)]

    answer = await rig.post("jobs/batch", {"jobs": forms})

    batch = answer.json()
    assert (answer.status_code, batch["count"], batch["succeeded"], batch["failed"]) == (
        200,
        5,
        5,
        0,
    )
    jobs = await there(rig)
    assert [job.spec.name for job in jobs] == [f"n{number}" for number in range(5)]
    assert batch["results"] == [
        {"ok": True, "id": job.id, "state": "pending", "code": None, "field": None, "detail": ""}
        for job in jobs
    ]


async def test_what_is_wrong_with_one_is_said_in_its_place(rig: Rig) -> None:
    forms = [
        GOOD,
        {"urls": ["ftp://example.com/"]},
        GOOD | {"template_version": "x"},
        {"template": "none", "params": {}},
        GOOD | {"start_at": "2030-01-01T00:00:00Z"},
    ]
    batch = (await rig.post("jobs/batch", {"jobs": forms})).json()
    assert (batch["succeeded"], batch["failed"]) == (2, 3)
    assert [(r["ok"], r["code"], r["field"]) for r in batch["results"]] == [
        (True, None, None),
        (False, "validation_failed", "urls"),
        (False, "validation_failed", "template_version"),
        (False, "not_found", None),
        (True, None, None),
    ]
    assert [job.due_at.year for job in await there(rig)][1:] == [2030]


async def test_a_quota_lets_in_as_many_as_it_says(rig: Rig) -> None:
    await quoted(rig.yard.store, "carl", pending=2)
    await rig.token("carl")
    answer = await rig.post("jobs/batch", {"jobs": [GOOD] * 4}, by="carl")
    codes = [result["code"] for result in answer.json()["results"]]
    assert codes == [None, None, "limit_exceeded", "limit_exceeded"]


async def test_none_and_too_many_are_refused(rig: Rig) -> None:
    for jobs in ([], [GOOD] * (MOST_JOBS + 1)):
        answer = await rig.post("jobs/batch", {"jobs": jobs})
        assert problem(answer) == (422, "validation_failed")
    assert await there(rig) == []


async def test_the_defaults_of_the_settings_are_under_each(rig: Rig) -> None:
    await rig.ask("PUT", "settings/defaults", json={"tags": ["all"]}, headers={"If-Match": "*"})
    await rig.post("jobs/batch", {"jobs": [GOOD, GOOD | {"tags": ["own"]}]})
    assert [job.spec.tags for job in await there(rig)] == [("all",), ("own",)]
