"""Jobs of schedules, run by a worker beside their scheduler."""

import pytest

from crawlyard import Yard
from tests.engine.rig import a_spec
from tests.engine.test_crawl import tree
from tests.jobs import submit
from tests.site import GraphSite, Serve
from tests.surfaces import as_user


@pytest.mark.parametrize("scheduled", [True, False])
async def test_the_scheduler_is_woken_by_the_end_of_a_run_of_its_own(
    yard: Yard, site_server: Serve, scheduled: bool
) -> None:
    server = await site_server(GraphSite(tree(3, 2)))
    overrides = {"urls": [f"{server.url}/"], "allow_private": True, "delay_s": 0}
    schedule = await as_user(yard).schedules.create("s", "@yearly", overrides=overrides)
    if scheduled:
        await as_user(yard).schedules.run(schedule.id)
    else:
        await submit(yard, a_spec(f"{server.url}/"))
    woken = yard.scheduler._woken
    woken.clear()

    await yard.worker().run(drain=True)

    assert woken.is_set() is scheduled
