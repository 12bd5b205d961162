"""On what and when it was measured, in a sentence."""

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
)


def described(server: str, load: float, others: Iterable[str], *, pinned: bool) -> str:
    """Return date, machine, server and versions; *others* are those of no Python package."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    cores = "one core for the server, one for the crawler" if pinned else "cores not pinned"
    found = [*_versions(), *others]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {python}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores ({cores}), load {load:.1f} before; served by {server}; "
        f"{', '.join(found)}"
    )


def _versions() -> Iterable[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:  # left out, as the table says
            continue
