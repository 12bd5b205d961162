"""Jobs of a fleet that is killed, stopped and cut off at random: nothing is lost or doubled.

The default run has a smoke test of a few seconds; the tests marked slow take a minute, and five
with ``CRAWLYARD_TEST_CHAOS_SECONDS=300``, with 200 jobs and more. What is done comes from a seed,
which is printed; ``CRAWLYARD_TEST_CHAOS_SEED`` repeats it. Redis and faketime take part where they
are.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import psycopg
import pytest
import redis.asyncio

from tests import redis_server
from tests.chaos.campaign import FIRST, Campaign, later, site
from tests.chaos.fleet import (
    LEASE_S,
    STEP_S,
    TICKER_STEP_S,
    Deed,
    Fleet,
    WorkerHost,
    faketime,
    harass,
)
from tests.chaos.history import FaultKind, History
from tests.chaos.judge import broken, summary
from tests.chaos.judge_moves import observed_moves
from tests.chaos.operators import operate
from tests.engine.rig import opened
from tests.postgres import NoPostgres, PostgresServer, a_server
from tests.times import slowness

SECONDS = float(os.environ.get("CRAWLYARD_TEST_CHAOS_SECONDS", "60"))
JOBS_PER_S = 0.7
SEED = int(os.environ.get("CRAWLYARD_TEST_CHAOS_SEED", "0")) or random.randrange(1, 1_000_000)

SHOWN = {"spread", "paused", "resumed", "cancelled", "retried"}
if SECONDS >= 300:  # an urgent job finds a free slot, now and then
    SHOWN.add("preempted")


@dataclass(frozen=True, slots=True)
class CampaignSize:
    """Duration of the faults, and the initial numbers of jobs and schedules."""

    seconds: float
    first: int = FIRST
    schedules: int = 3


SMOKE = CampaignSize(3.0, first=4, schedules=0)

_CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname IS NOT NULL AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A Postgres that no other test uses: it is restarted while it is asked."""
    try:
        with a_server() as server:
            yield server
    except NoPostgres as error:
        pytest.skip(f"no Postgres: {error}")


@pytest.fixture
def own_redis() -> Iterator[redis_server.RedisServer | None]:
    """A Redis that no other test uses; none where there is none, as its own tests say."""
    with ExitStack() as stack:
        server = None
        with suppress(redis_server.NoRedis):
            server = stack.enter_context(redis_server.a_server())
        yield server


def in_turn(fleet: Fleet) -> Callable[[FaultKind, Callable[[], Awaitable[None]]], Awaitable[None]]:
    """Return a function that runs faults on one server one at a time."""
    alone = asyncio.Lock()

    async def run_alone(kind: FaultKind, work: Callable[[], Awaitable[None]]) -> None:
        async with alone:
            await fleet.done(kind, work)

    return run_alone


def of_postgres(server: PostgresServer, fleet: Fleet) -> list[Deed]:
    """Return the faults that can be injected into the database."""

    def restarted() -> None:
        server.stop()
        server.start()

    async def restart() -> None:
        await asyncio.to_thread(restarted)

    async def cut() -> None:
        async with await psycopg.AsyncConnection.connect(server.url(), autocommit=True) as admin:
            await admin.execute(_CUT)

    run_action = in_turn(fleet)
    return [
        lambda _: run_action(FaultKind.RESTART, restart),
        lambda _: run_action(FaultKind.CUT, cut),
    ]


def of_redis(server: redis_server.RedisServer, fleet: Fleet) -> list[Deed]:
    """Return the faults that can be injected into Redis."""

    async def kill() -> None:
        server.kill()
        await asyncio.sleep(2)
        await asyncio.to_thread(server.start)

    async def hang(chance: random.Random) -> None:
        server.hang()
        await asyncio.sleep(chance.uniform(1, 4))
        server.go_on()

    async def flush() -> None:
        async with redis.asyncio.from_url(server.url) as client:
            await client.flushall()

    run_action = in_turn(fleet)
    return [
        lambda _: run_action(FaultKind.REDIS_KILL, kill),
        lambda _: run_action(FaultKind.REDIS_FLUSH, flush),
        lambda chance: run_action(FaultKind.REDIS_STOP, lambda: hang(chance)),
    ]


async def fought(
    campaign: Campaign, fleet: Fleet, deeds: list[Deed], size: CampaignSize
) -> History:
    """Give a fleet its jobs, harass it, wait for the end, and return what is left of it."""
    jobs, under_fire = int(size.seconds * JOBS_PER_S), size.seconds * 0.55
    for number in range(size.first):
        await campaign.submit(number)

    async def trickle() -> None:
        for number in range(size.first, jobs // 2):
            await campaign.submit(number)
        for number in range(max(size.first, jobs // 2), jobs):
            await asyncio.sleep(under_fire / jobs)
            await campaign.submit(number)

    async with fleet.running(), asyncio.TaskGroup() as group:
        await campaign.under_way()
        until = later(under_fire + 5)
        for number in range(size.schedules):
            await campaign.schedule(number, under_fire + 5)
        group.create_task(trickle())
        operators = group.create_task(operate(campaign, under_fire))
        await harass(deeds, under_fire, campaign.chance)
        slow = await asyncio.to_thread(slowness)
        await operators
        await campaign.settled(until)
        await fleet.stop()
    return replace(await campaign.history(fleet), slowness=slow)


def stepped(folder: Path, name: str) -> Path | None:
    """Return a file from which a process may read its wall clock; none without faketime."""
    if faketime() is None:
        return None
    clock = folder / name
    clock.write_text("+0")
    return clock


@asynccontextmanager
async def a_campaign(folder: Path, database_url: str) -> AsyncIterator[Campaign]:
    """Open the yard that the fleet will work in, and serve the site that it crawls."""
    print(f"CRAWLYARD_TEST_CHAOS_SEED={SEED}")  # noqa: T201 - shown when it fails
    async with (
        site(folder) as (log, port),
        opened(folder, database_url=database_url, lease_s=LEASE_S) as yard,
    ):
        yield Campaign(yard, log, port, random.Random(SEED))


def verdicts(history: History, fleet: Fleet) -> list[str]:
    """Return the violations in a history, and in the exits of workers that ended."""
    bad = [f"{worker} ended with {code}" for worker, code in fleet.ended if code]
    bad = broken(history) + bad
    print(summary(history), *bad, sep="\n")  # noqa: T201 - whole, where pytest shortens
    if bad:  # the times of all that happened, to find the cause
        history_file = fleet.folder / "history.json"
        history_file.write_bytes(msgspec.json.encode(history))
        print(history_file)  # noqa: T201
    return bad


def kinds(fleet: Fleet) -> set[FaultKind]:
    return {fault.kind for fault in fleet.faults}


@pytest.mark.slow
@pytest.mark.alone  # a worker that is starved past its lease does again what it has done
@pytest.mark.postgres
@pytest.mark.timeout(SECONDS + 600)
async def test_a_fleet_on_postgres_loses_nothing_under_random_faults(
    own_server: PostgresServer, own_redis: redis_server.RedisServer | None, tmp_path: Path
) -> None:
    url = own_server.url()
    places = [WorkerHost(0, ()), WorkerHost(1, ())]
    places.append(WorkerHost(2, (), clock=stepped(tmp_path, "clock2"), step_s=TICKER_STEP_S))
    places.append(WorkerHost(3, ("--no-scheduler",), clock=stepped(tmp_path, "clock3")))
    settings = {"CRAWLYARD_DATABASE_URL": url, "CRAWLYARD_LEASE_S": str(LEASE_S)}
    fleet = Fleet(tmp_path, settings, places)
    deeds: list[Deed] = [fleet.kill, fleet.kill, fleet.pause, *of_postgres(own_server, fleet)]
    if own_redis is not None:
        settings["CRAWLYARD_REDIS_URL"] = own_redis.url
        of_it = of_redis(own_redis, fleet)
        deeds.append(lambda chance: chance.choice(of_it)(chance))
    if places[-1].clock is not None:  # the test below says so otherwise
        deeds.append(fleet.step)

    async with a_campaign(tmp_path, url) as campaign:
        history = await fought(campaign, fleet, deeds, CampaignSize(SECONDS))

    assert verdicts(history, fleet) == []
    assert kinds(fleet) >= {FaultKind.KILL, FaultKind.STOP, FaultKind.RESTART, FaultKind.CUT}
    assert observed_moves(history) >= SHOWN


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMOKE, id="smoke"),
        pytest.param(
            CampaignSize(SECONDS / 2), id="long", marks=[pytest.mark.slow, pytest.mark.alone]
        ),
    ],
)
@pytest.mark.timeout(SECONDS + 600)
async def test_two_workers_on_one_file_lose_nothing_when_they_are_killed_and_stopped(
    tmp_path: Path, size: CampaignSize
) -> None:
    settings = {"CRAWLYARD_DATABASE_URL": "", "CRAWLYARD_LEASE_S": str(LEASE_S)}
    fleet = Fleet(tmp_path, settings, [WorkerHost(0, ()), WorkerHost(1, ())], shared=True)
    deeds: list[Deed] = [fleet.kill, fleet.kill, fleet.pause]

    async with a_campaign(tmp_path, "") as campaign:
        history = await fought(campaign, fleet, deeds, size)

    assert verdicts(history, fleet) == []
    assert kinds(fleet) - {FaultKind.LOCK} == {FaultKind.KILL, FaultKind.STOP}


def test_the_wall_clock_of_a_process_is_stepped_while_the_other_clock_goes_on(
    tmp_path: Path,
) -> None:
    clock, fake = stepped(tmp_path, "clock"), faketime()
    if clock is None or fake is None:
        pytest.skip("no faketime: apt install faketime")
    clock.write_text(f"+{STEP_S}")
    process = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"],
        env={**os.environ, **fake, "FAKETIME_TIMESTAMP_FILE": str(clock)},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, monotonic = map(float, process.stdout.split())

    assert wall - time.time() > STEP_S / 2
    assert abs(monotonic - time.monotonic()) < STEP_S / 2
