"""One browser for all tests of this folder, and a yard for each module."""

import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.rig import INSTALL, PATIENCE_MS, Stage, a_browser, a_stage, chromium
from tests.web.rig import hide_jobs_of_others

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Let all tests with a browser share one loop, and mark them slow except the smoke test.

    A browser lives in the loop that began it.
    """
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and inspect.iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if item.path.stem != "test_smoke":
                item.add_marker(pytest.mark.slow)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A browser of the system's."""
    path = chromium()
    if path is None:
        pytest.skip(f"there is no browser: {INSTALL}")
    async with a_browser(path) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A yard without a worker, so that jobs stay as a test leaves them.

    Its users see only what they own, so that tests do not see each other's jobs.
    """
    async with a_stage(tmp_path_factory.mktemp("yard"), browser) as staged:
        await hide_jobs_of_others(staged.yard.store)
        yield staged


@pytest_asyncio.fixture(loop_scope="session")
async def empty(browser: Browser, tmp_path: Path) -> AsyncIterator[Stage]:
    """A yard of its own for a test that counts all jobs."""
    async with a_stage(tmp_path, browser, works=("operations",)) as staged:
        yield staged
