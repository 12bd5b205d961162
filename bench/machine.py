"""Date, machine and versions of a measurement, in a sentence."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "crawlyard",
    "httptools",
    "turbohtml",
    "can-ada",
    "uvloop",
    "scrapy",
    "twisted",
    "lxml",
    "crawlee",
    "selectolax",
    "trafilatura",
    "crawl4ai",
)


def describe(server: str, load: float, other_versions: Iterable[str], *, pinned: bool) -> str:
    """Return date, machine, server and versions; *other_versions* are not of Python packages."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    cores = "one core for the server, one for the crawler" if pinned else "cores not pinned"
    all_versions = [*_versions(), *other_versions]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {python}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores ({cores}), load {load:.1f} before; served by {server}; "
        f"{', '.join(all_versions)}"
    )


def _versions() -> Iterable[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:  # left out, as the table says
            continue
