"""Folders and sites for the tests of the installed command."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.acceptance.shell import FAST, MANY, PAGES, Shell, a_site, served


@pytest.fixture(autouse=True, scope="module")
def interruptible() -> Iterator[None]:
    """Let children hear Ctrl-C, even where the suite itself runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A site that answers at once and never fails."""
    with a_site("--pages", str(PAGES), "--plain") as url:
        yield url


WHERE = ("local", "http")
"""Commands open the yard of the folder, or ask a server that has it open."""


def _somewhere(folder: Path, where: str) -> AbstractContextManager[Shell]:
    return served(folder) if where == "http" else nullcontext(Shell(folder))


@pytest.fixture(scope="module", params=WHERE)
def crawled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    """A yard with one completed job, to be read and not changed."""
    with (
        _somewhere(tmp_path_factory.mktemp("crawled"), request.param) as shell,
        a_site("--pages", str(PAGES)) as url,
    ):
        ran = shell.run("crawl", url, *FAST, "--max-depth", "3", "--name", "docs", "--tag", "a")
        assert ran.returncode == 0, ran.stderr
        yield shell


@pytest.fixture(params=WHERE)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    """An empty yard, here and behind a server."""
    with _somewhere(tmp_path, request.param) as shell:
        yield shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An empty folder."""
    return Shell(tmp_path)


@pytest.fixture
def slow_site(tmp_path: Path) -> Iterator[str]:
    """A site that takes seconds to crawl and logs what it is asked."""
    log = str(tmp_path / "hits.jsonl")
    with a_site("--pages", str(MANY), "--plain", "--latency-ms", "40", "--log", log) as url:
        yield url
