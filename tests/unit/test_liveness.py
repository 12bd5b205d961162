"""Presence locks: they show which processes are alive."""

import subprocess
import sys
from pathlib import Path

import pytest

from crawlyard.messaging.locks import LOOKS_PER_S, pause_s
from crawlyard.services.workers.liveness import HostLocks
from tests.rights import readable_folder, unprivileged

HOLD = """
import sys
from pathlib import Path
from crawlyard.services.workers.liveness import HostLocks
with HostLocks(Path(sys.argv[1]), "other"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_worker_is_dead_when_its_process_was_killed_and_not_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with (
        HostLocks(tmp_path, "me") as presence,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        other.stdout.readline()
        alive = presence.dead({"other"})
        other.kill()
        other.wait()
        dead = presence.dead({"other"})

    assert alive == set()
    assert dead == {"other"}


def test_a_worker_of_another_host_is_not_judged(tmp_path: Path) -> None:
    with HostLocks(tmp_path, "me") as presence:
        assert presence.traceable({"elsewhere"}) == set()
        assert presence.dead({"elsewhere"}) == set()


def test_a_worker_of_another_user_is_not_judged() -> None:
    with readable_folder() as folder, HostLocks(folder, "me") as presence:
        file = folder / "theirs.lock"
        file.touch(0o000)
        with unprivileged(folder):
            dead = presence.dead({"theirs"})
            presence.sweep(())

        assert dead == set()
        assert file.exists()


def test_a_sweep_leaves_the_files_of_those_who_live_or_hold_leases(tmp_path: Path) -> None:
    for name in ("gone", "holder"):
        (tmp_path / f"{name}.lock").touch()
    with HostLocks(tmp_path, "alive"), HostLocks(tmp_path, "me") as presence:
        presence.sweep({"holder"})
        assert {file.stem for file in tmp_path.glob("*.lock")} == {"alive", "holder", "me"}


def test_a_large_fleet_looks_no_more_often_than_a_small_one() -> None:
    assert [pause_s(fleet, chance) for fleet in (1, 6) for chance in (0, 1)] == [0.4] * 4
    for fleet in (20, 200, 5000):
        assert fleet / pause_s(fleet, 0.5) == pytest.approx(LOOKS_PER_S)
    assert pause_s(200, 0) < pause_s(200, 1)
