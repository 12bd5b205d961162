"""Materialize the asset, evaluate the sensor until it requests a run, and execute that run."""

import dagster as dg
from harness import an_unreliable_yard, until

with an_unreliable_yard() as (yard, _), dg.DagsterInstance.ephemeral() as instance:
    yard.copy("workflow_engines/dagster_crawl.py", yard.serve_site())
    import dagster_crawl as example

    for _ in range(2):  # the day is materialized again: the same job
        run = dg.materialize([example.crawl], partition_key="2026-12-01", instance=instance)
        assert run.success

    def requests() -> list[dg.RunRequest]:
        context = dg.build_sensor_context(instance, definitions=example.defs)
        return example.crawl_completed.evaluate_tick(context).run_requests

    [request] = until(requests, "the sensor requests no run")
    job = example.defs.resolve_job_def("read_pages")
    run = job.execute_in_process(
        run_config=request.run_config, partition_key=request.partition_key, instance=instance
    )
    [event] = run.asset_materializations_for_node("pages")
    assert event.metadata["pages"].value >= 20, event
