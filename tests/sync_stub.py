"""The types of `crawlyard.sync`: ``python -m tests.sync_stub`` writes them, and a test compares."""

import inspect
import subprocess
import sys
import types
import typing
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from crawlyard.core.endpoints.endpoint import methods_of
from crawlyard.services.surface import nouns

STUB = Path(__file__).parents[1] / "src" / "crawlyard" / "sync.pyi"

_HEAD = """# made by `python -m tests.sync_stub`; a test compares it
# ruff: noqa: A001, A002 - the names of what is asked for
"""
_OPENING = """
_T = TypeVar("_T")

def connect(
    url: str | None = None, token: str | None = None
) -> AbstractContextManager[Surface]: ...
def open(
    settings: Settings | None = None, actor: Actor = ...
) -> AbstractContextManager[Surface]: ...
def every(
    ask: Callable[..., Slice[_T]], *args: Any, limit: int | None = None, **asked: Any
) -> Iterator[_T]: ...
"""


class Imports:
    """The names that annotations need, and where each is imported from."""

    def __init__(self) -> None:
        self._homes: dict[str, str] = {}

    def of(self, home: str, name: str) -> str:
        assert self._homes.setdefault(name, home) == home, f"two of {name}"
        return name

    def imports(self) -> str:
        """Return the lines that import them."""
        by_home = defaultdict[str, list[str]](list)
        for name, home in self._homes.items():
            by_home[home].append(name)
        lines = (f"from {home} import {', '.join(names)}" for home, names in by_home.items())
        return "\n".join(lines) + "\n"

    def text(self, hint: Any) -> str:
        """Return an annotation as it is written."""
        if hint is None or hint is types.NoneType:
            return "None"
        if hint is Ellipsis:
            return "..."
        origin, within = get_origin(hint), get_args(hint)
        if origin is None:
            return hint.__name__ if hint.__module__ == "builtins" else self._named(hint)
        if origin is Literal:
            return f"{self.of('typing', 'Literal')}[{', '.join(map(repr, within))}]"
        if origin in (Union, types.UnionType):
            # equal unions share an object, whose order is that of whichever was made first
            return " | ".join(
                sorted({*map(self.text, within)}, key=lambda name: (name == "None", name))
            )
        outer = Iterator if origin in (AsyncGenerator, AsyncIterator) else origin
        return f"{self.text(outer)}[{', '.join(map(self.text, within))}]"

    def _named(self, hint: Any) -> str:
        name = "Any" if hint is Any else hint.__name__
        return self.of(hint.__module__, name)


def stub_text() -> str:
    names = Imports()
    for home, words in (
        ("collections.abc", ("Callable", "Iterator")),
        ("contextlib", ("AbstractContextManager",)),
        ("typing", ("Any", "TypeVar")),
        ("crawlyard.config", ("Settings",)),
        ("crawlyard.core.access.user", ("Actor",)),
        ("crawlyard.core.endpoints.endpoint", ("Slice",)),
    ):
        for word in words:
            names.of(home, word)
    classes = "".join(_noun(service, names) for service in nouns().values())
    surface = "".join(f"    {name}: _{service.__name__}\n" for name, service in nouns().items())
    text = f"{_HEAD}{names.imports()}{_OPENING}{classes}\nclass Surface:\n{surface}"
    text = _ruff("check", "--select", "I", "--fix-only", "--silent", text=text)
    return _ruff("format", text=text)


def _noun(service: type, names: Imports) -> str:
    methods = (_method(each, call, names) for each, call in methods_of(service).items())
    return f"\nclass _{service.__name__}:\n{''.join(methods)}"


def _method(name: str, call: Callable[..., Any], names: Imports) -> str:
    arguments, result = signature(call, names)
    return f"    def {name}({', '.join(['self', *arguments])}) -> {result}: ...\n"


def signature(call: Callable[..., Any], names: Imports) -> tuple[list[str], str]:
    """Return the arguments and the result of a method, as a stub writes them, without `self`."""
    hints = typing.get_type_hints(call)
    words = list[str]()
    keyword = False
    for parameter in list(inspect.signature(call).parameters.values())[1:]:
        hint = names.text(hints[parameter.name])
        if parameter.kind is parameter.VAR_KEYWORD:
            words.append(f"**{parameter.name}: {hint}")
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            keyword = True
            words.append("*")
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter)}"
        words.append(f"{parameter.name}: {hint}{default}")
    return words, names.text(hints["return"])


def _default(parameter: inspect.Parameter) -> str:
    default = parameter.default
    plain = type(default) in (str, int, float, bool, types.NoneType) or default == ()
    return repr(default) if plain else "..."


def _ruff(*words: str, text: str) -> str:
    command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(STUB), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    STUB.write_text(stub_text(), "utf-8")
