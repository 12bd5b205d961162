"""Pending tasks that a test leaks because it does not close their owner.

asyncio only logs that, on garbage collection, which may be many tests later.
"""

import gc
import logging
from collections.abc import Iterator

import pytest

_DROPPED = "was destroyed but it is pending"


class Dropped(logging.Handler):
    """Collects the messages of asyncio about leaked tasks."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if _DROPPED in record.getMessage():
            self._messages.append(record.getMessage())

    def pop_all(self) -> list[str]:
        """Return the messages since the last call."""
        messages, self._messages = self._messages, []
        return messages


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector off the loaded modules: each pass over them takes a second."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def dropped() -> Iterator[Dropped]:
    """Messages about leaked tasks; fails if one remains after the last test."""
    handler, logger = Dropped(), logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield handler
    gc.collect()
    logger.removeHandler(handler)
    assert handler.pop_all() == []


@pytest.fixture(autouse=True)
def no_task_is_dropped(dropped: Dropped) -> Iterator[None]:
    """Fail if this test, or an earlier one, has leaked a task."""
    yield
    assert dropped.pop_all() == []
