"""A plugin for machines that have everything: there, a test that was not run has failed.

Registered by ``-p tests.no_skips``, as `.ci/run` does. The ids of the tests that failed are written
to the file that ``CI_FAILED`` names, a line each.
"""

import os
from pathlib import Path

import pytest

_NOT_RUN = ("skipped", "xfailed")  # tests marked "slow" have a run of their own


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a success into a failure if something was not run; write down what failed."""
    stats = _stats(session.config)
    if stats and (path := os.environ.get("CI_FAILED")):
        failed = [report.nodeid for kind in ("failed", "error") for report in stats.get(kind, ())]
        Path(path).write_text("".join(f"{each}\n" for each in dict.fromkeys(failed)))
    if session.exitstatus == pytest.ExitCode.OK and _not_run(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say so; which tests they are is told by ``-ra``."""
    for kind, count in _not_run(config).items():
        terminalreporter.write_line(f"{count} {kind}: nothing may be left out here", red=True)


def _not_run(config: pytest.Config) -> dict[str, int]:
    stats = _stats(config)
    return {kind: len(stats[kind]) for kind in _NOT_RUN if stats.get(kind)}


def _stats(config: pytest.Config) -> dict[str, list[pytest.TestReport]]:
    """Return the reports by kind; those of the workers are the business of who started them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports: dict[str, list[pytest.TestReport]] = reporter.stats if reporter is not None else {}
    return reports
