"""Lazy imports, so that help and completion do not wait for modules they don't use."""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


def is_installed(name: str) -> bool:
    """Return whether package *name* is installed, without loading it."""
    return importlib.util.find_spec(name) is not None


def find_package(name: str) -> Path | None:
    """Return the folder of package *name*, ``None`` if it is not installed; do not load it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


@contextmanager
def lazily() -> Iterator[None]:
    """Let the modules that the block imports load when one of their attributes is first accessed.

    The block has to import them as modules::

        with lazily():
            from crawlyard.cli import invoke

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    token = _is_lazy.set(True)
    try:
        yield
    finally:
        _is_lazy.reset(token)


_is_lazy: ContextVar[bool] = ContextVar("is_lazy", default=False)


class _Finder:
    """Finds modules within a block of `lazily` only."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _is_lazy.get():
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder)
