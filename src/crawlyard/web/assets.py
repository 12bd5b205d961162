"""What the pages load: style sheet, scripts and icon, under a name that changes with them."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from posixpath import dirname, join, normpath

import rjsmin  # type: ignore[import-untyped]  # it ships no types
from msgspec import Struct

_MEDIA = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_IMPORT = re.compile(r'\b(?:import|export)\s*(?:[\w{},$*\s]+?from\s*)?"(\.[^"]+)"')


class Asset(Struct, frozen=True):
    """One file, as it is sent."""

    media_type: str
    content: bytes


def _sent(ending: str, content: bytes) -> bytes:
    """Return *content* without what only the readers of scripts need: comments, indentation."""
    return rjsmin.jsmin(content) if ending == ".js" else content


def _found(folder: Traversable, inside: str = "") -> Iterator[tuple[str, Asset]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = f"{inside}{entry.name}"
        ending = f".{entry.name.rpartition('.')[2]}"
        if entry.is_dir():
            yield from _found(entry, f"{path}/")
        elif ending in _MEDIA:
            yield path, Asset(_MEDIA[ending], _sent(ending, entry.read_bytes()))


ASSETS: Mapping[str, Asset] = dict(_found(files("crawlyard.web").joinpath("static")))
"""All of them by their paths."""

_TOLD = b"".join(path.encode() + asset.content for path, asset in ASSETS.items())
VERSION = sha256(_TOLD).hexdigest()[:12]
"""Of all of them together: what is cached under it is never stale."""

ROOT = f"/static/{VERSION}"
"""Where they are."""


def modules_of(entry: str) -> tuple[str, ...]:
    """Return the paths of the scripts that *entry* imports, and those that they import.

    A page names them, so that a browser asks for all at once and not for one after the other.
    """
    seen: dict[str, None] = {}
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        for found in _IMPORT.findall(ASSETS[path].content.decode()):
            imported = normpath(join(dirname(path), found))
            if imported not in seen:
                seen[imported] = None
                waiting.append(imported)
    return tuple(sorted(seen))
