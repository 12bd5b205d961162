"""Type of the Python API, near or far, for what is built on it."""

from crawlyard.services.surface import Surface

__all__ = ["Surface"]
