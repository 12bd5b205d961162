"""Run the workflow on Temporal's development server, and kill the workflow's worker as well."""

import asyncio
import shutil

from harness import an_unreliable_yard, free_port, until
from temporalio.testing import WorkflowEnvironment


async def main() -> None:
    port = free_port()
    with an_unreliable_yard() as (yard, _):
        site = yard.serve_site()
        script = yard.copy(
            "workflow_engines/temporal_crawl.py",
            site,
            TEMPORAL=f'"127.0.0.1:{port}"',
            LONGEST_PAUSE="timedelta(seconds=5)",
        )
        async with await WorkflowEnvironment.start_local(
            port=port, dev_server_existing_path=shutil.which("temporal")
        ) as temporal:
            worker = yard.start(str(script))
            handle = await temporal.client.start_workflow(
                "CrawlSite", site, id="crawl-docs", task_queue="crawls"
            )
            await asyncio.to_thread(until, yard.jobs, "no job")
            worker.kill()
            yard.start(str(script))
            assert await handle.result() >= 20


asyncio.run(main())
