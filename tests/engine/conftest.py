"""Fixtures of the tests that crawl."""

from tests.engine.clients import make
from tests.engine.raw import raw_server
from tests.site import site_server

__all__ = ["make", "raw_server", "site_server"]
