"""The stores of the conformance tests, for tests of what is built on them."""

import pytest

from tests.clock import FakeClock
from tests.conformance.conftest import backend, sqlite_template, store

__all__ = ["backend", "sqlite_template", "store"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
