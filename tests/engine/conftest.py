"""Fixtures of the tests that crawl."""

from tests.site import site_server

__all__ = ["site_server"]
