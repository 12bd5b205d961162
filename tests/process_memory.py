"""Memory of a process and of all that it has started; what they share counts once."""

import re
from contextlib import suppress
from pathlib import Path

_PSS = re.compile(r"^Pss: +(\d+) kB", re.MULTILINE)


def tree_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants."""
    pids, total = [pid], 0
    for process in pids:
        folder = Path(f"/proc/{process}")
        with suppress(OSError):  # it has just ended
            for children in folder.glob("task/*/children"):
                pids += map(int, children.read_text("ascii").split())
            total += sum(map(int, _PSS.findall((folder / "smaps_rollup").read_text("ascii"))))
    return total * 1024
