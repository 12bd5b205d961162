"""Web application of a worker process: metrics for admins, health for all."""

from dataclasses import replace

from crawlyard.core.access.user import LOCAL, Permit, Role
from crawlyard.errors import StoreUnavailable
from crawlyard.web.worker_app import create_worker_app
from tests.web.rig import Rig, problem
from tests.web.test_watch import a_report


def of_worker(rig: Rig, *, looks: bool = True) -> Rig:
    """Return what a worker of the same yard shows."""
    return replace(rig, app=create_worker_app(rig.site, lambda: looks))


async def test_metrics_need_a_token_of_an_admin_as_those_of_a_server_do(rig: Rig) -> None:
    worker = of_worker(rig)
    await rig.user("ada", Role.OPERATOR)
    narrow = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))

    for target in [rig, worker]:
        assert problem(await target.get("/metrics", by=None)) == (401, "unauthenticated")
        assert problem(await target.get("/metrics", by="ada")) == (403, "forbidden")
        assert problem(await target.get("/metrics", secret=narrow)) == (403, "forbidden")
        assert (await target.get("/metrics")).status_code == 200


async def test_metrics_are_of_this_process_alone(rig: Rig) -> None:
    rig.yard.services.measures.workers.add("w1")
    for name in ("w1", "elsewhere"):
        await rig.yard.store.workers.save_heartbeat(a_report(id=name))

    text = (await of_worker(rig).get("/metrics")).text

    assert "crawlyard_worker_pages_total 12.0\n" in text
    assert "crawlyard_takeovers_total 0.0\n" in text
    assert "crawlyard_jobs{" not in text
    assert "crawlyard_workers{" not in text


async def test_it_is_well_while_its_worker_looks_for_work_and_its_store_answers(rig: Rig) -> None:
    async def away() -> None:
        raise StoreUnavailable("the database crawlyard on 10.0.0.7 is away")

    store = rig.yard.store.with_parts(check=away)
    well = await of_worker(rig).get("/healthz", by=None)
    ready = await of_worker(rig).get("/readyz", by=None)
    idle = await of_worker(rig, looks=False).get("/healthz", by=None)
    rig.yard.store = store
    alone = await of_worker(rig).get("/healthz", by=None)
    alive = await of_worker(rig, looks=False).get("/livez", by=None)

    assert (well.status_code, well.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    assert idle.status_code == 503
    assert alone.status_code == 503
    assert "10.0.0.7" not in alone.text, "served without a token"
    assert alive.status_code == 200, "restarting the process would not bring the database back"


async def test_other_paths_and_methods_are_refused(rig: Rig) -> None:
    worker = of_worker(rig)
    for path in ["jobs", "/", "/openapi.json"]:
        assert problem(await worker.get(path)) == (404, "not_found")
    assert problem(await worker.ask("POST", "/metrics")) == (405, "method_not_allowed")
