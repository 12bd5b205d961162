"""What this program is called, and at which version."""

from importlib.metadata import version

VERSION = version("crawlyard")
