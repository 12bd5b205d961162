"""Workers, hosts, logs, courses and figures over HTTP."""

from datetime import timedelta

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from crawlyard.core.access.user import LOCAL
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.job_log import Course, Level, LogLine, Point
from crawlyard.core.workers.status import WorkerReport
from tests.builders import LEASE, NOW, a_batch, a_target, done
from tests.web.rig import Rig, problem


def a_report(**fields: object) -> WorkerReport:
    report = WorkerReport(
        id="w1",
        host="here",
        pid=7,
        version="1",
        slots=4,
        pages=12,
        errors={"timeout": 2},
        waits=(3, 1, *[0] * 8),
        waited_s=0.02,
        started_at=NOW,
        beat_at=NOW,
    )
    return replace(report, **fields)


async def crawled(rig: Rig, by: str) -> str:
    """Return the id of a job of a user's that has written something down."""
    job = await rig.job(by)
    claim = await rig.yard.store.leases.claim(Asker("w1"), rig.clock.now(), LEASE)
    assert claim is not None
    lines = tuple(
        LogLine(at=NOW, level=level, message=f"line {n}", url="https://example.com/x")
        for n, level in enumerate((Level.INFO, Level.WARNING, Level.DEBUG, Level.ERROR))
    )
    course = Course(points=(Point(at=NOW, seconds=5, pages=3, statuses={"2xx": 3}),))
    batch = a_batch([a_target()], [done(a_target())], log=lines, course=course)
    await rig.yard.store.frontier.record([(claim.lease, batch)], rig.clock.now(), LEASE)
    job_id: str = job["id"]
    return job_id


async def test_a_log_is_read_by_level_text_and_from_where_it_was_left(rig: Rig) -> None:
    job = await crawled(rig, LOCAL.id)

    def messages_of(answer: dict[str, list[dict[str, object]]]) -> list[object]:
        return [line["message"] for line in answer["items"]]

    assert messages_of((await rig.get(f"jobs/{job}/log")).json()) == ["line 0", "line 1", "line 3"]
    assert messages_of((await rig.get(f"jobs/{job}/log?level=debug&q=line 2")).json()) == ["line 2"]
    assert messages_of((await rig.get(f"jobs/{job}/log?after=2")).json()) == ["line 3"]
    first = (await rig.get(f"jobs/{job}/log?limit=2")).json()
    rest = await rig.get(f"jobs/{job}/log", params={"limit": 2, "cursor": first["next_cursor"]})
    assert messages_of(rest.json()) == ["line 3"]


async def test_a_course_is_shown(rig: Rig) -> None:
    job = await crawled(rig, LOCAL.id)
    [point] = (await rig.get(f"jobs/{job}/metrics")).json()["points"]
    assert (point["pages"], point["statuses"]) == (3, {"2xx": 3})


async def test_what_a_job_says_is_its_owners(rig: Rig) -> None:
    await rig.user("ada")
    await rig.user("bob")
    job = await crawled(rig, "ada")
    for path in ("log", "metrics"):
        assert (await rig.get(f"jobs/{job}/{path}", by="ada")).status_code == 200
        assert problem(await rig.get(f"jobs/{job}/{path}", by="bob")) == (404, "not_found")


async def test_workers_are_shown_and_gone_ones_forgotten(rig: Rig) -> None:
    await rig.yard.store.workers.save_heartbeat(a_report())

    [worker] = (await rig.get("workers")).json()["items"]
    alive = await rig.ask("DELETE", "workers/w1")
    await rig.clock.advance(timedelta(minutes=1))
    current_worker = (await rig.get("workers/w1")).json()

    assert (worker["alive"], worker["slots"], worker["errors"]) == (True, 4, {"timeout": 2})
    assert problem(alive) == (409, "invalid_transition")
    assert current_worker["alive"] is False
    assert (await rig.ask("DELETE", "workers/w1")).status_code == 204
    assert problem(await rig.get("workers/w1")) == (404, "not_found")


async def test_a_user_sees_only_own_hosts_and_jobs(rig: Rig) -> None:
    await rig.user("ada")
    job = await crawled(rig, "ada")
    busy = HostReport(host="a.example", in_flight=2, delay_s=0.5, jobs=(job, "another"))
    quiet = HostReport(host="b.example", jobs=("another",))
    report = a_report(running=(job, "another"), hosts=(busy, quiet), beat_at=rig.clock.now())
    await rig.yard.store.workers.save_heartbeat(report)

    [host] = (await rig.get("hosts", by="ada")).json()["items"]
    [worker] = (await rig.get("workers", by="ada")).json()["items"]

    assert (host["host"], host["jobs"], host["others"]) == ("a.example", [job], 1)
    assert worker["running"] == [job]
    assert worker["errors"] == {}
    assert problem(await rig.get("hosts/b.example", by="ada")) == (404, "not_found")
    assert len((await rig.get("hosts")).json()["items"]) == 2
    assert (await rig.get("hosts/b.example")).json()["jobs"] == ["another"]


async def test_the_figures_are_what_prometheus_reads(rig: Rig) -> None:
    await rig.job(priority="high")
    rig.yard.services.measures.workers.add("w1")
    await rig.yard.store.workers.save_heartbeat(a_report())
    await rig.yard.store.workers.save_heartbeat(a_report(id="elsewhere", quiet=True))
    await rig.clock.advance(timedelta(seconds=3))

    answer = await rig.get("/metrics")

    samples = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }

    def figure(name: str, *labels: str) -> float:
        return samples[name, frozenset(labels)]

    assert figure("crawlyard_jobs", "pending", "high") == 1
    assert figure("crawlyard_jobs", "running", "low") == 0
    assert figure("crawlyard_job_wait_seconds") == 3
    assert figure("crawlyard_workers", "idle") == 1
    assert figure("crawlyard_workers", "quiet") == 1
    assert figure("crawlyard_slots") == 8
    assert figure("crawlyard_shards_free") == 0
    assert figure("crawlyard_worker_slots") == 4, "of this process alone"
    assert figure("crawlyard_worker_pages_total") == 12
    assert figure("crawlyard_worker_url_errors_total", "timeout") == 2
    assert figure("crawlyard_dispatch_delay_seconds_bucket", "0.01") == 4
    assert figure("crawlyard_dispatch_delay_seconds_count") == 4


async def test_a_server_without_a_worker_has_no_figures_of_one(rig: Rig) -> None:
    await rig.yard.store.workers.save_heartbeat(a_report())

    text = (await rig.get("/metrics")).text

    assert "crawlyard_slots 4.0" in text
    assert "crawlyard_worker_" not in text
    assert "crawlyard_checkpoint_" not in text


async def test_invalid_query_parameters_are_refused(rig: Rig) -> None:
    job = await rig.job()
    for query in ["level=loud", "after=-1", "after=x", "limit=0", "limit=1000"]:
        answer = await rig.get(f"jobs/{job['id']}/log?{query}")
        assert problem(answer) == (422, "validation_failed"), query
        assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0], query
