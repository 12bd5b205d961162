"""Checks that run after every unit test."""

import gc
from collections.abc import Generator

import pytest

from tests.clock import FakeClock


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Find tasks that a test with a fake clock has dropped; see `tests.leftovers`.

    Tasks that sleep by the loop's clock are held by the loop, and cancelled with it. Collecting old
    objects as well would take a second; those of a long test are found at the end of the session.
    """
    before = FakeClock.instances
    yield
    if FakeClock.instances != before:
        gc.collect(1)
