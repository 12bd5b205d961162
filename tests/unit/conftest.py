"""Checks that run after every unit test."""

import gc
from collections.abc import Generator

import pytest

from tests.clock import FakeClock


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Find tasks that a test with a fake clock has dropped; see `tests.leftovers`.

    Who sleeps by the loop's clock is held by the loop, and cancelled with it. To look at the old
    objects as well would take a second; what has grown old in a long test is found by the end.
    """
    before = FakeClock.made
    yield
    if FakeClock.made != before:
        gc.collect(1)
