"""Jobs over HTTP: filtered, sorted, counted, walked through."""

from datetime import timedelta

import pytest

from crawlyard.core.access.user import LOCAL
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker, Batch
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.order import JobOrder
from crawlyard.services.jobs import jobs
from crawlyard.store import queries
from crawlyard.store.jobs import order
from tests.builders import LEASE, a_job, a_spec, its_event
from tests.web.crawled import in_state
from tests.web.rig import URL, Rig, problem


async def job_names(rig: Rig, query: str, by: str = LOCAL.id) -> list[str]:
    """Return the names of the jobs that a query finds, sorted."""
    answer = await rig.get(f"jobs?{query}", by=by)
    assert answer.status_code == 200, answer.text
    return sorted(job["spec"]["name"] for job in answer.json()["items"])


@pytest.fixture
async def various(rig: Rig) -> Rig:
    await rig.user("ada")
    await rig.job(name="a", tags=["x", "y"], priority="high", urls=["https://a.example/docs"])
    await rig.clock.advance(timedelta(days=1))
    paused = await rig.job(name="b", tags=["y"], priority="low", urls=["https://b.example:81/"])
    await rig.post(f"jobs/{paused['id']}/pause")
    await rig.job("ada", name="c", priority="urgent", tags=['"x", z'])
    return rig


async def test_a_filter_finds(various: Rig) -> None:
    for query, names in [
        ("", "abc"),
        ("state=paused", "b"),
        ("state=paused,pending", "abc"),
        ("state=paused&state=pending", "abc"),
        ("state=paused&priority=high", ""),
        ("state=", "abc"),
        ("priority_gte=high", "ac"),
        ("tag=x,z", "a"),
        ('tag="x,z"', ""),
        ('tag="\\"x\\", z",z', "c"),
        ("tag=y", "ab"),
        ("host=A.example", "a"),
        ("host=b.example", "b"),
        ("host=b.example:81", "b"),
        ("host=example", ""),
        ("owner=me", "ab"),
        ("owner=ada", "c"),
        ("owner=nobody", ""),
        ("origin=direct", "abc"),
        ("origin=schedule,retry", ""),
        ("template=nobodys", ""),
        ("schedule=nobodys", ""),
        ("created_after=2026-01-03", "bc"),
        ("created_before=2026-01-03", "a"),
        ("created_before=2026-01-02T03:04:05Z", ""),
        ("q=state:paused", "b"),
        ("q=-state:paused+-tag:x", "c"),
        ("q=DOCS", "a"),
        ('q="a.example/docs"+tag:y', "a"),
        ("q=owner:me&state=pending", "a"),
    ]:
        assert await job_names(various, query) == list(names), query
        counts = (await various.get(f"jobs/counts?{query}")).json()
        assert counts["total"] == sum(counts["states"].values()) == len(names), query


async def test_jobs_are_found_by_what_they_were_made_of(rig: Rig) -> None:
    await rig.user("ada")
    spec = {"urls": [URL], "name": "made"}
    template = (await rig.post("templates", {"name": "news", "spec": spec})).json()["id"]
    draft = {"name": "hourly", "when": "@hourly", "template": "news"}
    schedule = (await rig.post("schedules", draft)).json()["id"]
    await rig.post("jobs", {"template": "news", "name": "once"})
    assert (await rig.post("schedules/hourly/run")).status_code == 201
    retried = await in_state(rig, State.FAILED, name="failed")
    await rig.post(f"jobs/{retried}/retry")

    for word in (template, "news", "local/news", template.upper()):
        assert await job_names(rig, f"template={word}") == ["made", "once"]
    for word in (schedule, "hourly", "local/hourly"):
        assert await job_names(rig, f"q=schedule:{word}") == ["made"]
    assert await job_names(rig, "origin=template") == ["once"]
    assert await job_names(rig, "origin=schedule") == ["made"]
    assert await job_names(rig, "origin=retry") == ["failed"]
    assert await job_names(rig, "q=-template:news") == ["failed", "failed"]
    assert await job_names(rig, f"template={template}", by="ada") == []


@pytest.mark.parametrize(
    ("query", "parameter", "position"),
    [
        ("state=done", "state", None),
        ("priority=highest", "priority", None),
        ("created_after=yesterday", "created_after", None),
        ("origin=elsewhere", "origin", None),
        ("q=state:done", "q", 6),
        ('q=tag:a+"open', "q", 6),
        ("q=colour:red", "q", 0),
        ("sort=colour", "sort", None),
        ("count=about", "count", None),
        (f"q={'x' * 501}", "q", None),
        (f"host={'x' * 501}", "host", None),
        (f"tag={'x,' * 101}", "tag", None),
    ],
)
@pytest.mark.parametrize("path", ["jobs", "jobs/counts"])
async def test_what_is_wrong_in_a_filter_is_named(
    rig: Rig, path: str, query: str, parameter: str, position: int | None
) -> None:
    if path == "jobs/counts" and parameter in {"sort", "count"}:
        return

    answer = await rig.get(f"{path}?{query}")

    assert problem(answer) == (422, "validation_failed")
    [error] = answer.json()["errors"]
    assert error["parameter"] == parameter
    assert error.get("position") == position


async def test_counts_have_a_number_for_each_state(rig: Rig) -> None:
    await in_state(rig, State.FAILED)
    await rig.job(priority="high")
    counts = (await rig.get("jobs/counts")).json()
    assert counts["object"] == "job_counts"
    assert counts["states"] == dict.fromkeys(State, 0) | {"failed": 1, "pending": 1}
    assert counts["priorities"] == {"urgent": 0, "high": 1, "normal": 1, "low": 0}


async def test_a_total_counts_all_matches_on_every_page(rig: Rig) -> None:
    for n in range(5):
        await rig.job(tags=["odd"] if n % 2 else [])

    first = (await rig.get("jobs?limit=2&count=exact")).json()
    second = await rig.get(
        "jobs", params={"limit": 2, "cursor": first["next_cursor"], "count": "exact"}
    )

    assert first["total"] == second.json()["total"] == 5
    assert (await rig.get("jobs?count=exact&tag=odd&limit=1")).json()["total"] == 2
    assert (await rig.get("jobs?count=estimate&tag=odd&limit=1")).json()["total"] == 2
    assert (await rig.get("jobs")).json()["total"] is None


async def test_counts_by_a_tag_stop_and_those_that_are_kept_do_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "COUNTED_TO", 2)
    monkeypatch.setattr(jobs, "COUNTED_TO", 2)
    other_job = [await rig.job(tags=["odd"], priority="high") for _ in range(4)]
    await rig.post(f"jobs/{other_job[0]['id']}/pause")

    counts = (await rig.get("jobs/counts?owner=me&priority=high")).json()
    tagged = (await rig.get("jobs/counts?tag=odd")).json()
    totals = [
        (await rig.get(f"jobs?tag=odd&count={count}")).json()["total"]
        for count in ("exact", "estimate")
    ]
    chosen = {"action": "cancel", "filter": {"tag": ["odd"]}, "dry_run": True}

    assert (counts["total"], counts["states"]["pending"], counts["priorities"]["high"]) == (4, 3, 4)
    assert (tagged["total"], tagged["states"]["pending"], tagged["priorities"]["high"]) == (2, 2, 2)
    assert totals == [4, 2]
    assert (await rig.post("jobs/bulk", chosen)).json()["count"] == 4


async def test_others_are_in_no_list_and_no_count(various: Rig) -> None:
    assert await job_names(various, "", by="ada") == ["c"]
    assert await job_names(various, "owner=local", by="ada") == []
    assert await job_names(various, "q=-owner:ada", by="ada") == []
    assert (await various.get("jobs/counts", by="ada")).json()["total"] == 1
    assert (await various.get("jobs?count=exact", by="ada")).json()["total"] == 1
    assert (await various.get("jobs?count=estimate", by="ada")).json()["total"] == 1


@pytest.mark.parametrize("sort", ["-created_at", "created_at"])
async def test_a_walk_while_a_thousand_arrive_yields_each_old_job_once(rig: Rig, sort: str) -> None:
    store = rig.yard.store

    async def arrive(count: int) -> list[str]:
        jobs = [a_job(spec=a_spec()) for _ in range(count)]
        for job in jobs:
            await store.jobs.add(job, its_event(job, EventName.CREATED))
        return [job.id for job in jobs]

    old = await arrive(1_000)
    walked: list[str] = []
    cursor, new = None, 0
    while cursor is not None or not walked:
        params = {"limit": "100", "sort": sort, "fields": "id"}
        page = await rig.get("jobs", params=params | ({"cursor": cursor} if cursor else {}))
        walked += [job["id"] for job in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if new < 1_000:
            new += len(await arrive(100))

    assert new == 1_000
    assert [job_id for job_id in walked if job_id in set(old)] == (
        old if sort == "created_at" else old[::-1]
    )
    assert len(walked) == len(set(walked))


@pytest.mark.parametrize("descending", [True, False])
async def test_a_walk_goes_on_from_a_cursor_of_the_version_before(
    rig: Rig, *, descending: bool
) -> None:
    ids = sorted([(await rig.job())["id"] for _ in range(3)], reverse=descending)

    every, by_age = queries.JobQuery(), JobOrder(descending=descending)
    standings = await rig.yard.store.jobs.find_ordered(every, by_age, 10, ids[0])

    assert [standing.job.id for standing, _ in standings] == ids[1:]


async def test_a_cursor_of_one_order_is_none_of_the_other(rig: Rig) -> None:
    for _ in range(3):
        await rig.job()
    cursor = (await rig.get("jobs?limit=1")).json()["next_cursor"]
    other = await rig.get("jobs", params={"limit": 1, "sort": "created_at", "cursor": cursor})
    assert problem(other) == (400, "invalid_cursor")


async def walked(rig: Rig, query: str) -> str:
    """Return the names of all jobs of a list, two by two along the cursor."""
    names, cursor = "", ""
    while True:
        answer = (await rig.get(f"jobs?limit=2&{query}{cursor}")).json()
        names += "".join(job["spec"]["name"] for job in answer["items"])
        if not answer["has_more"]:
            return names
        cursor = f"&cursor={answer['next_cursor']}"


@pytest.fixture
async def sortable(rig: Rig) -> Rig:
    """Jobs a to f: d has not ended, e and f have not started."""
    await rig.user("ada")
    store = rig.yard.store
    for name, pages, took in [("a", 5, 9), ("c", 7, 2), ("b", 1, 30), ("d", 3, 4)]:
        job = await rig.job(name=name, urls=[f"https://{name}.example/"])
        await rig.clock.advance(timedelta(seconds=1))
        claim = await store.leases.claim(Asker("w", only=job["id"]), rig.clock.now(), LEASE)
        assert claim is not None
        batch = Batch(usage=Usage(pages=pages, duration_s=took, discovered=9))
        [answer] = await store.frontier.record([(claim.lease, batch)], rig.clock.now(), LEASE)
        if name != "d":
            now = (await store.jobs.get(job["id"])).job
            after = now.apply_move(Move.COMPLETE, rig.clock.now(), actor="w")
            await store.leases.settle(answer.lease, *after)
    await rig.job("ada", name="e", urls=["https://a.example/"])
    paused = await rig.job(name="f", urls=["https://f.example/"])
    await rig.post(f"jobs/{paused['id']}/pause")
    return rig


async def test_jobs_are_sorted_and_grouped_by_query(sortable: Rig) -> None:
    for query, names in [
        ("", "fedbca"),
        ("sort=created_at", "acbdef"),
        ("sort=-started_at", "dbcafe"),
        ("sort=started_at", "acbdfe"),
        ("sort=-ended_at", "bcafed"),
        ("sort=-duration", "badcfe"),
        ("sort=pages&state=completed", "bac"),
        ("sort=name", "abcdef"),
        ("sort=-name", "fedcba"),
        ("group=state", "dfebca"),
        ("group=state&sort=created_at", "defacb"),
        ("group=state&sort=name", "defabc"),
        ("group=owner", "efdbca"),
        ("group=host&sort=name", "aebcdf"),
        ("group=schedule&q=owner:ada", "e"),
    ]:
        assert await walked(sortable, query) == names, query


async def test_more_jobs_than_can_be_sorted_are_refused_and_an_index_needs_no_sorting(
    sortable: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "SORTED_MOST", 3)
    for query, pointer in [("sort=-duration", "sort"), ("group=host", "group")]:
        answer = await sortable.get(f"jobs?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["parameter"] == pointer
        assert "filter further" in answer.json()["errors"][0]["detail"]
    assert await walked(sortable, "sort=-pages&state=completed") == "cab"
    assert await walked(sortable, "group=state") == "dfebca"
