"""A full disk: deletion still works, by a reserve file beside the database."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crawlyard.store.db.reserve import RESERVE_BYTES

MOUNT = 'mount -t tmpfs -o size=40m none "$1" && exec "$2" -m tests.services.full_disk "$1"'
AS_USER = ("--user", "--map-root-user", "--mount")
AS_ROOT = ("--mount",)


def on_a_disk_of_its_own(folder: Path) -> dict[str, int]:
    """Run the program on a small file system at *folder*; return its output."""
    for namespaces in (AS_USER, AS_ROOT):
        allowed = ["unshare", *namespaces, "true"]
        if subprocess.run(allowed, capture_output=True, check=False).returncode == 0:
            break
    else:
        pytest.skip("no file system can be mounted here")
    command = ["unshare", *namespaces, "sh", "-c", MOUNT, "sh", str(folder), sys.executable]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    outcome: dict[str, int] = json.loads(done.stdout)
    return outcome


def test_expired_and_cancelled_jobs_are_deleted_without_a_free_byte(tmp_path: Path) -> None:
    outcome = on_a_disk_of_its_own(tmp_path)

    assert outcome["free_before"] == 0
    assert outcome["deleted"] == 1
    assert outcome["bytes"] > 150 * 20_000
    assert outcome["remade"]
    assert outcome["free_after"] > 150 * 20_000 + RESERVE_BYTES / 2
