"""A plugin: how many tests run side by side, and where the time of a run went."""

import os
from collections import defaultdict
from pathlib import PurePosixPath

import pytest

SLOWEST = 15


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return more than there are cores: many tests wait for other processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 2 * (cores or 1) + 1


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
