"""Program version, and the packages of its extras."""

import shlex
from importlib.metadata import requires, version

VERSION = version("crawlyard")


def install_line(extra: str) -> str:
    """Return the command that installs the packages of *extra*.

    It names the packages instead of ``crawlyard[extra]``: Crawlyard is not on PyPI, where anyone
    could register that name.
    """
    requirements = (need.partition(";") for need in requires("crawlyard") or ())
    needs = [name for name, _, marker in requirements if marker.strip() == f"extra == '{extra}'"]
    return shlex.join(("pip", "install", *sorted(needs)))


def browser_install() -> str:
    """Return the alternative commands that install a browser for a worker."""
    return f"{install_line('render')}, or apt install chromium-headless-shell"
