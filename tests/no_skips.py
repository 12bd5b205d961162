"""A plugin for machines that have everything: there, a test that was not run has failed.

Registered by ``-p tests.no_skips``, as `.ci/run` does.
"""

import pytest

_NOT_RUN = ("skipped", "xfailed")  # what "slow" leaves out has a run of its own


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a success into a failure if something was not run."""
    if session.exitstatus == pytest.ExitCode.OK and _not_run(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say so; which tests they are is told by ``-ra``."""
    for kind, count in _not_run(config).items():
        terminalreporter.write_line(f"{count} {kind}: nothing may be left out here", red=True)


def _not_run(config: pytest.Config) -> dict[str, int]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    stats: dict[str, list[object]] = reporter.stats if reporter is not None else {}
    return {kind: len(stats[kind]) for kind in _NOT_RUN if stats.get(kind)}
