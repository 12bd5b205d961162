"""Crawlyard: a self-hosted crawl job manager.

import crawlyard

async with crawlyard.open() as yard:
    job = await yard.jobs.run("https://docs.example.org/", max_pages=100)
    async for page in yard.jobs.pages(job.id):
        print(page.status, page.url, page.title)
"""

# This file imports nothing: each command loads it before it can handle Ctrl-C (`__main__`).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crawlyard.public_names import *  # noqa: F403 - all are public

__version__: str


def __getattr__(name: str) -> object:
    """Return a public name from the module that defines it.

    Raises:
        AttributeError: the package has no such name.
    """
    if name == "__version__":
        return _module("crawlyard.about").VERSION
    names = _module("crawlyard.public_names")
    if name == "__all__":  # of `from crawlyard import *`
        return names.__all__
    if name not in names.MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_module(names.MODULE_OF[name]), names.ALIASES.get(name, name))


def __dir__() -> list[str]:
    return sorted(_module("crawlyard.public_names").__all__)


def _module(name: str) -> "Any":
    return __import__(name, fromlist=("",))  # importlib takes 1 ms to load
