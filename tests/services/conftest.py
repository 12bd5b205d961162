"""The stores of the conformance tests, for tests of what is built on them."""

from tests.conformance.conftest import backend, sqlite_template, store

__all__ = ["backend", "sqlite_template", "store"]
