import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest

from crawlyard.clock import SLEW, SystemClock
from crawlyard.services.upkeep.clock_sync import follow_server_clock, proven
from crawlyard.store.db.database import SqliteDatabase
from crawlyard.store.upkeep import UpkeepStore
from tests.chaos.fleet import STEP_S, faketime

_STEPPED = """
import json, sys, time
from datetime import timedelta
from pathlib import Path
from crawlyard.clock import SystemClock

clock = SystemClock()
now, wall = clock.now(), clock.wall()
Path(sys.argv[1]).write_text(sys.argv[2])
clock.shift(timedelta(seconds=7))
print(json.dumps([(clock.now() - now).total_seconds(), (clock.wall() - wall).total_seconds()]))
"""


def test_a_clock_is_shifted_by_the_distance_to_another() -> None:
    clock, other = SystemClock(), SystemClock()
    clock.shift(timedelta(hours=1))
    assert timedelta(minutes=59) < clock.now() - other.now() < timedelta(minutes=61)
    assert timedelta(minutes=59) < clock.wall() - other.wall() < timedelta(minutes=61)


def test_a_step_of_the_wall_before_a_shift_does_not_move_it(tmp_path: Path) -> None:
    fake, file = faketime(), tmp_path / "clock"
    if fake is None:
        pytest.skip("no faketime: apt install faketime")
    file.write_text("+0")
    more = {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
    completed = subprocess.run(
        [sys.executable, "-c", _STEPPED, str(file), f"+{STEP_S}"],
        env={**os.environ, **fake, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    moved, wall_moved = json.loads(completed.stdout)

    assert 7 <= moved < STEP_S / 2
    assert wall_moved > STEP_S / 2


def ahead_of(clock: SystemClock, other: SystemClock) -> float:
    """Return by how many seconds one clock is ahead of another, read as closely as possible."""
    apart = [(clock.now() - other.now()).total_seconds() for _ in range(20)]
    return max(apart)  # a pause between the two makes it look behind


@pytest.mark.parametrize("by_s", [0.002, -0.002])
def test_a_clock_is_steered_to_another_and_stays_there(by_s: float) -> None:
    clock, other = SystemClock(), SystemClock()
    before = ahead_of(clock, other)

    clock.steer(timedelta(seconds=by_s))
    sleep(abs(by_s) / SLEW * 1.1)
    after = ahead_of(clock, other)
    sleep(0.05)

    assert after == pytest.approx(before + by_s, abs=0.0005)
    assert ahead_of(clock, other) == pytest.approx(after, abs=0.0005)


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_steered_clock_makes_no_step_and_never_goes_back(by: timedelta) -> None:
    clock, other = SystemClock(), SystemClock()
    before, began = ahead_of(clock, other), monotonic()

    clock.steer(by)
    readings = [clock.now() for _ in range(1000)]
    clock.steer(by)
    moved, passed = ahead_of(clock, other) - before, monotonic() - began

    assert readings == sorted(readings)
    assert abs(moved) <= SLEW * passed + 0.0005


def test_the_rest_of_a_correction_is_dropped_by_the_next() -> None:
    clock, other = SystemClock(), SystemClock()
    clock.steer(timedelta(hours=1))
    sleep(0.05)
    clock.steer(timedelta(0))
    before = ahead_of(clock, other)
    sleep(0.05)

    assert before > 0.0005
    assert ahead_of(clock, other) == pytest.approx(before, abs=0.0005)


class AheadStore(UpkeepStore):
    """A database whose clock is three seconds ahead of this machine."""

    async def server_time(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=3)


class ImpatientClock(SystemClock):
    """A clock that is compared at once, and counts how often."""

    comparisons = 0

    async def sleep(self, duration: timedelta) -> None:
        del duration
        self.comparisons += 1
        await asyncio.sleep(0.01)


async def test_a_process_steers_its_clock_towards_that_of_the_database(tmp_path: Path) -> None:
    clock, database = ImpatientClock(), SqliteDatabase(tmp_path / "unused.db")
    began, wall = clock.now(), datetime.now(UTC)
    async with asyncio.timeout(60), follow_server_clock(AheadStore(database), clock):
        while clock.comparisons < 20:  # noqa: ASYNC110 - the clock signals nothing
            await asyncio.sleep(0.01)

    passed, ahead = datetime.now(UTC) - wall, clock.now() - began
    await database.close()
    assert ahead / passed == pytest.approx(1 + SLEW, rel=0.005)


def test_a_comparison_proves_no_more_than_how_long_it_took() -> None:
    sent_at, second = datetime(2026, 1, 1, tzinfo=UTC), timedelta(seconds=1)
    answered = sent_at + second

    assert proven(sent_at, answered, sent_at) == timedelta(0)
    assert proven(sent_at, answered, answered) == timedelta(0)
    assert proven(sent_at, answered, answered + 3 * second) == 3 * second
    assert proven(sent_at, answered, sent_at - 3 * second) == -3 * second
