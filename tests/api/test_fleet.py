"""Control of workers and rate limits of hosts."""

import pytest

from crawlyard.core.workers.status import WorkerWish
from crawlyard.errors import IllegalMove, Invalid, NotFound, Stale
from crawlyard.services.surface import Surface
from tests.builders_serve import a_report
from tests.web.rig import Rig

ID = "host:1:x"


async def test_workers_are_quiet_resumed_and_stopped(rig: Rig, yard: Surface) -> None:
    await rig.yard.store.workers.save_heartbeat(a_report(beat_at=rig.clock.now()))

    quiet = await yard.workers.quiet(ID)
    resumed = await yard.workers.resume(ID)
    stopped = await yard.workers.stop(ID)
    with pytest.raises(IllegalMove, match="is stopping"):
        await yard.workers.resume(ID)
    with pytest.raises(NotFound, match="nobody"):
        await yard.workers.quiet("nobody")

    assert [worker.state for worker in (quiet, resumed, stopped)] == ["quiet", "idle", "stopping"]
    assert await rig.yard.store.workers.wish(ID) is WorkerWish.STOP


async def test_hosts_are_slowed_paused_blocked_resumed_and_forgotten(yard: Surface) -> None:
    slow = await yard.hosts.set("a.example", delay_s=2, at_once=1, version=0)
    less = await yard.hosts.set("a.example", at_once=None)
    paused = await yard.hosts.pause("a.example", "down", version=less.version)
    blocked = await yard.hosts.block("a.example")
    resumed = await yard.hosts.resume("A.example:443")
    with pytest.raises(Stale):
        await yard.hosts.pause("a.example", version=slow.version)
    with pytest.raises(Invalid, match="expected a host"):
        await yard.hosts.block("a..b")
    would = await yard.hosts.deletable("a.example")
    listed = [host.host for host in (await yard.hosts.list()).items]
    await yard.hosts.unset("a.example", version=would.version)
    hosts = [host.host for host in (await yard.hosts.list()).items]

    assert slow.rule is not None
    assert less.rule is not None
    assert (slow.rule.delay_s, slow.rule.at_once, less.rule.at_once) == (2, 1, None)
    assert [host.state for host in (paused, blocked, resumed)] == ["paused", "blocked", "open"]
    assert (would.note, listed, hosts) == ("down", ["a.example"], [])
