"""Lazy imports, so that help and completion do not wait for modules they don't use."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def installed(name: str) -> bool:
    """Return whether package *name* is installed, without loading it."""
    return importlib.util.find_spec(name) is not None


def installed_in(name: str) -> Path | None:
    """Return the folder of package *name*, ``None`` if it is not installed; do not load it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def lazily(name: str) -> ModuleType:
    """Return module *name*, which is loaded when one of its attributes is first accessed.

    Use it beside an import for the type checker, so that both see the same module::

        if TYPE_CHECKING:
            from crawlyard.cli import invoke
        else:
            invoke = lazily("crawlyard.cli.invoke")

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    package, _, last = name.rpartition(".")
    if package:  # as an import does, which from now on finds the module and does nothing
        setattr(sys.modules[package], last, module)
    return module
