"""Number of parallel test processes, report of slow tests, and load of the machine."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import PurePosixPath
from time import monotonic

import pytest

SLOWEST = 15


def slowness() -> float:
    """Return how much longer a process takes right now than the processor time it needs.

    Tests of what is promised in seconds allow for so much: other programs may run beside them.
    """
    began = monotonic()
    with subprocess.Popen([sys.executable, "-c", "import crawlyard.yard"]) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return max(1.0, (monotonic() - began) / (used.ru_utime + used.ru_stime))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return more than there are cores: many tests wait for other processes.

    Not many more: each worker loads all tests, and starts a Postgres of its own.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 2 * (cores or 1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the slowest tests, set-up and tear-down included, and the seconds per folder."""
    tests: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                tests[report.nodeid] += report.duration
    folders: dict[str, float] = defaultdict(float)
    for node, seconds in tests.items():
        folders[str(PurePosixPath(node.partition("::")[0]).parent)] += seconds
    write = terminalreporter.write_line
    terminalreporter.section(f"{min(SLOWEST, len(tests))} slowest tests, and seconds per folder")
    for node in sorted(tests, key=tests.__getitem__, reverse=True)[:SLOWEST]:
        write(f"{tests[node]:7.1f} s  {node}")
    for folder in sorted(folders, key=folders.__getitem__, reverse=True):
        write(f"{folders[folder]:7.1f} s  {folder}/")
