"""A job whose row cannot be read, over HTTP: it is in its place in lists, and can be deleted."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs
from tests.builders import NOW
from tests.conformance.steps import database_of
from tests.web.rig import Rig, a_rig, problem

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)

REASON = "spec: tags: Expected `array`, got `str`"


@pytest.fixture
async def on_sql(store: Store) -> AsyncIterator[Rig]:
    new_rig = await a_rig(store)
    yield new_rig
    await new_rig.close()


async def damaged(rig: Rig) -> str:
    job_id = str((await rig.job())["id"])
    spec = '{"urls": ["https://example.com/"], "tags": "docs"}'
    broken = update(jobs).where(jobs.c.id == job_id).values(spec=spec)
    await database_of(rig.yard.store).write(lambda conn: conn.execute(broken))
    return job_id


async def test_lists_show_it_as_damaged_beside_the_others(on_sql: Rig) -> None:
    sound, job_id = (await on_sql.job())["id"], await damaged(on_sql)
    fields = "id,damaged,allowed_actions,detail"
    jobs = {job["id"]: job for job in (await on_sql.get(f"jobs?fields={fields}")).json()["items"]}
    assert (jobs[sound]["damaged"], jobs[job_id]["damaged"]) == ("", REASON)
    assert jobs[job_id]["allowed_actions"] == ["delete"]
    assert "it can only be deleted" in jobs[job_id]["detail"]


async def test_a_damaged_job_is_a_notice_with_a_request_that_helps(on_sql: Rig) -> None:
    job_id = await damaged(on_sql)
    items = (await on_sql.get("attention")).json()["items"]
    [notice] = [item for item in items if item["kind"] == "job_damaged"]
    assert (notice["subject"]["id"], REASON in notice["detail"]) == (job_id, True)
    assert (await on_sql.ask(notice["help"]["method"], notice["help"]["path"])).is_success
    assert (await on_sql.get(f"jobs/{job_id}")).status_code == 404


async def test_what_would_run_it_is_refused(on_sql: Rig) -> None:
    job_id = await damaged(on_sql)
    refused = await on_sql.ask("POST", f"jobs/{job_id}/resume")
    assert problem(refused) == (409, "invalid_transition")
    assert REASON in refused.json()["detail"]
    assert refused.json()["allowed_actions"] == ["delete"]


async def test_no_answer_offers_a_retry_of_it_once_it_has_ended(on_sql: Rig) -> None:
    job_id = await damaged(on_sql)
    failed = {"state": "failed", "state_reason": "internal_error", "ended_at": NOW}
    await database_of(on_sql.yard.store).write(
        lambda conn: conn.execute(update(jobs).where(jobs.c.id == job_id).values(**failed))
    )
    assert (await on_sql.get(f"jobs/{job_id}")).json()["allowed_actions"] == ["delete"]
    listed = (await on_sql.get("jobs?fields=id,allowed_actions")).json()["items"]
    assert listed == [{"id": job_id, "allowed_actions": ["delete"]}]
    for scope in ("all", "failed", "now"):
        refused = await on_sql.ask("POST", f"jobs/{job_id}/retry", json={"scope": scope})
        assert problem(refused) == (409, "invalid_transition"), scope
        assert refused.json()["allowed_actions"] == ["delete"], scope
