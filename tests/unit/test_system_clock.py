import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from crawlyard.clock import SystemClock
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
    told = subprocess.run(
        [sys.executable, "-c", _STEPPED, str(file), f"+{STEP_S}"],
        env={**os.environ, **fake, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    moved, wall_moved = json.loads(told.stdout)

    assert 7 <= moved < STEP_S / 2
    assert wall_moved > STEP_S / 2
