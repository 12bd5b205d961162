"""Lazy imports, so that help and completion do not wait for modules they don't use."""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any


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


class _Loading:
    """Progress of loading a module."""

    def __init__(self) -> None:
        self.lock = RLock()  # the thread that loads the module reads its attributes meanwhile
        self.has_begun = False


class _LazyModule(ModuleType):
    """Module that one thread loads, while others that access its attributes wait.

    The one of `importlib.util` has no lock before Python 3.12: others see half of the module.
    """

    def __getattribute__(self, name: str) -> Any:
        spec = ModuleType.__getattribute__(self, "__spec__")
        if name == "__spec__":  # read by each import of the module
            return spec
        with spec.loader_state.lock:
            if not spec.loader_state.has_begun:
                spec.loader_state.has_begun = True
                try:
                    spec.loader.exec_module(self)
                except BaseException:
                    spec.loader_state.has_begun = False
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
        return ModuleType.__getattribute__(self, name)


class _LazyLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            module.__loader__ = spec.loader = self._loader
            spec.loader_state = _Loading()
            module.__class__ = _LazyModule


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
            spec.loader = _LazyLoader(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder)
