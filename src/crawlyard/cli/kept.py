"""What this machine keeps of servers: tokens by their URLs, and contexts, which are names."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    import tomllib
else:  # most have no such file
    tomllib = lazily("tomllib")

HERE = "local"
"""The context that is no server: the yard of this machine."""

_OURS_ALONE = 0o600
_PARTS = frozenset({"context", "contexts", "servers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The file of a user, read."""

    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # by URL
    contexts: Mapping[str, str] = field(default_factory=dict)  # URLs by name
    current: str = HERE

    @property
    def server(self) -> str:
        """Return the URL of the context in use; nothing: it is here."""
        return self.contexts.get(self.current, "")

    def with_token(self, url: str, token: str | None) -> "Kept":
        """Return the same with a token for a server; ``None``: without one."""
        others = {u: t for u, t in self.tokens.items() if u != key(url)}
        return replace(self, tokens=others if token is None else others | {key(url): token})

    def with_context(self, name: str, url: str | None) -> "Kept":
        """Return the same with a context; ``None``: without it, and not using it."""
        others = {n: u for n, u in self.contexts.items() if n != name}
        if url is not None:
            return replace(self, contexts=others | {name: key(url)})
        current = HERE if self.current == name else self.current
        return replace(self, contexts=others, current=current)


def key(url: str) -> str:
    """Return *url* as it is kept."""
    return url.rstrip("/")


def config_file() -> Path:
    """Return where it is kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "crawlyard" / "config.toml"


def read() -> Kept:
    """Return what is kept; nothing, if there is no file.

    Raises:
        Invalid: the file cannot be read, or has something else in it.
    """
    file = config_file()
    try:
        found: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError) as error:
        raise Invalid(str(file), f"cannot be read: {error}") from None
    other = sorted(found.keys() - _PARTS)
    if other:
        raise Invalid(str(file), f"expected {', '.join(sorted(_PARTS))}; got {other[0]} as well")
    try:
        return Kept(
            tokens={url: str(told["token"]) for url, told in found.get("servers", {}).items()},
            contexts={
                name: str(told["server"]) for name, told in found.get("contexts", {}).items()
            },
            current=str(found.get("context", HERE)),
        )
    except (AttributeError, KeyError, TypeError):
        said = "expected a server of each context, and a token of each server"
        raise Invalid(str(file), said) from None


def write(kept: Kept) -> None:
    """Keep this and nothing else, in a file that nobody else may read."""
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    # a JSON string is a basic string of TOML as well
    text = json.dumps
    parts = [] if kept.current == HERE else [f"context = {text(kept.current)}\n"]
    parts += [f"[contexts.{text(n)}]\nserver = {text(u)}\n" for n, u in kept.contexts.items()]
    parts += [f"[servers.{text(u)}]\ntoken = {text(t)}\n" for u, t in kept.tokens.items()]
    new = file.with_suffix(".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OURS_ALONE)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        os.fchmod(handle, _OURS_ALONE)
        out.write("\n".join(parts))
    new.replace(file)
