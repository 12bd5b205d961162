"""Folders and sites for the tests of the installed command."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.shell import FAST, MANY, PAGES, Shell, a_site


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


@pytest.fixture(scope="module")
def crawled(site: str, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A data directory with one completed job, to be read and not changed."""
    shell = Shell(tmp_path_factory.mktemp("crawled"))
    with a_site("--pages", str(PAGES)) as url:
        ran = shell.run("crawl", url, *FAST, "--max-depth", "3", "--name", "docs", "--tag", "a")
    assert ran.returncode == 0, ran.stderr
    return shell


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
