"""Folders and sites for the tests of the installed command."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from shutil import copytree
from typing import Protocol

import pytest

from tests.acceptance.shell import FAST, MANY, PAGES, Shell, demo_site, serving


@pytest.fixture(autouse=True, scope="module")
def interruptible() -> Iterator[None]:
    """Let child processes receive Ctrl-C, even if the suite runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A site that answers at once and never fails."""
    with demo_site("--pages", str(PAGES), "--plain") as url:
        yield url


BOTH = ("local", pytest.param("http", marks=pytest.mark.slow))
"""Commands open the yard of the folder, or send requests to a server that has it open."""


class Somewhere(Protocol):
    """Opens an empty yard in a folder: here, or behind a server with these options."""

    def __call__(
        self, folder: Path, where: str, *options: str
    ) -> AbstractContextManager[Shell]: ...


@pytest.fixture(scope="session")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Somewhere:
    """Opener of empty yards; the server grants what a yard grants to the owner of its files."""
    template = Shell(tmp_path_factory.mktemp("empty"))
    token = template.run("tokens", "create", "tests").stdout.strip()
    granted = template.run("settings", "grants", "--addresses", "--private", "--ignore-robots")
    assert granted.returncode == 0, granted.stderr

    def open_(folder: Path, where: str, *options: str) -> AbstractContextManager[Shell]:
        if where == "local":
            return nullcontext(Shell(folder))
        copytree(template.folder, folder, dirs_exist_ok=True)
        return serving(Shell(folder), token, *options)

    return open_


@pytest.fixture(scope="module", params=BOTH)
def crawled(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    somewhere: Somewhere,
) -> Iterator[Shell]:
    """A yard with one completed job, to be read and not changed."""
    with (
        somewhere(tmp_path_factory.mktemp("crawled"), request.param) as shell,
        demo_site("--pages", str(PAGES)) as url,
    ):
        ran = shell.run("crawl", url, *FAST, "--max-depth", "3", "--name", "docs", "--tag", "a")
        assert ran.returncode == 0, ran.stderr
        yield shell


# test_golden and test_exit_codes also cover the output and exit code of each command over HTTP
@pytest.fixture(params=BOTH)
def either(request: pytest.FixtureRequest, tmp_path: Path, somewhere: Somewhere) -> Iterator[Shell]:
    """An empty yard, here and behind a server."""
    with somewhere(tmp_path, request.param) as shell:
        yield shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An empty folder."""
    return Shell(tmp_path)


@pytest.fixture
def slow_site(tmp_path: Path) -> Iterator[str]:
    """A site that takes seconds to crawl and logs its requests."""
    log = str(tmp_path / "hits.jsonl")
    with demo_site("--pages", str(MANY), "--plain", "--latency-ms", "40", "--log", log) as url:
        yield url
