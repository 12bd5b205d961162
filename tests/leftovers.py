"""Tasks that a test drops while they still wait: nobody closed what began them.

asyncio only logs that, when the garbage collector comes by, which may be many tests later.
"""

import gc
import logging
from collections.abc import Iterator

import pytest

_DROPPED = "was destroyed but it is pending"


class Dropped(logging.Handler):
    """Remembers the tasks of which asyncio says that they were dropped."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of what is logged, if it tells of such a task."""
        if _DROPPED in record.getMessage():
            self._messages.append(record.getMessage())

    def pop_all(self) -> list[str]:
        """Return what there is to tell, and forget it."""
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
    """What tells of tasks that were dropped; in the end there is none of whom it did not."""
    handler, logger = Dropped(), logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield handler
    gc.collect()
    logger.removeHandler(handler)
    assert handler.pop_all() == []


@pytest.fixture(autouse=True)
def no_task_is_dropped(dropped: Dropped) -> Iterator[None]:
    """Fail where a task is found that this test, or one before it, has dropped."""
    yield
    assert dropped.pop_all() == []
