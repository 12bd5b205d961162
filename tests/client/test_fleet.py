"""The client says what is wanted of workers, and how hosts are to be asked."""

import pytest

from crawlyard.core.overview.worker_status import WorkerWish
from crawlyard.errors import IllegalMove, Invalid, NotFound, Stale
from crawlyard.store.db.in_memory import open_in_memory
from tests.builders_serve import a_report
from tests.client.test_client import client_of
from tests.web.rig import a_rig

ID = "host:1:x"


async def test_workers_are_quiet_resumed_and_stopped() -> None:
    rig = await a_rig(open_in_memory())
    await rig.yard.store.workers.beat(a_report(beat_at=rig.clock.now()))

    async with client_of(rig) as yard:
        quiet = await yard.workers.quiet(ID)
        resumed = await yard.workers.resume(ID)
        stopped = await yard.workers.stop(ID)
        with pytest.raises(IllegalMove, match="is stopping"):
            await yard.workers.resume(ID)
        with pytest.raises(NotFound, match="nobody"):
            await yard.workers.quiet("nobody")

    assert [one.state for one in (quiet, resumed, stopped)] == ["quiet", "idle", "stopping"]
    assert await rig.yard.store.workers.wish(ID) is WorkerWish.STOP


async def test_hosts_are_slowed_paused_blocked_resumed_and_forgotten() -> None:
    rig = await a_rig(open_in_memory())

    async with client_of(rig) as yard:
        slow = await yard.hosts.set("a.example", {"delay_s": 2, "at_once": 1}, version=0)
        less = await yard.hosts.set("a.example", {"at_once": None})
        paused = await yard.hosts.pause("a.example", "down", version=less.version)
        blocked = await yard.hosts.block("a.example")
        resumed = await yard.hosts.resume("A.example:443")
        with pytest.raises(Stale):
            await yard.hosts.pause("a.example", version=slow.version)
        with pytest.raises(Invalid, match="expected a host"):
            await yard.hosts.block("a..b")
        would = await yard.hosts.deletable("a.example")
        listed = [host.host async for host in yard.hosts.list()]
        await yard.hosts.unset("a.example", version=would.version)
        left = [host.host async for host in yard.hosts.list()]

    assert slow.rule is not None
    assert less.rule is not None
    assert (slow.rule.delay_s, slow.rule.at_once, less.rule.at_once) == (2, 1, None)
    assert [one.state for one in (paused, blocked, resumed)] == ["paused", "blocked", "open"]
    assert (would.note, listed, left) == ("down", ["a.example"], [])
