"""Style sheets and scripts of the dashboard, served under a path that changes with them."""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from posixpath import dirname, join, normpath
from urllib.parse import quote

import msgspec
import rjsmin  # type: ignore[import-untyped]  # it ships no types
from msgspec import Struct

from crawlyard.core.words import TABLES


class Asset(Struct, frozen=True):
    """A static file as served."""

    media_type: str
    content: bytes


def _files_in(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _files_in(entry, f"{path}/")
        else:
            yield path, entry.read_text("utf-8")


_WORDS_JS = f"export const WORDS = {msgspec.json.encode(TABLES).decode()};"

SOURCES: Mapping[str, str] = {
    **dict(_files_in(files("crawlyard.web").joinpath("static"))),
    "js/core/words.js": _WORDS_JS,  # generated from `core.words`
}
"""Text of static files by path."""

FAVICON = f"data:image/svg+xml,{quote(SOURCES['icon.svg'])}"
"""The icon of all pages, in their markup: it costs no request."""


# --- bundles: a script and all that it imports in one file, instead of a request for each

_IMPORT = re.compile(r'^import (?:\* as (\w+)|({.+})) from "(\..+)";.*$', re.MULTILINE)
_EXPORT = re.compile(
    r'^export (?:\* from "(?P<module>.+)"|{(?P<names>.+)}'
    r"|(?P<declaration>(?:const|class|(?:async )?function) (?P<name>[\w$]+)))",
    re.MULTILINE,
)


def _imports(path: str) -> Iterator[str]:
    """Yield the paths of the modules that a script names itself."""
    for pattern, group in ((_IMPORT, 3), (_EXPORT, "module")):
        for match in pattern.finditer(SOURCES[path]):
            if match[group]:
                yield _resolve(path, match[group])


def _resolve(path: str, specifier: str) -> str:
    return normpath(join(dirname(path), specifier))


def modules_of(entry: str) -> tuple[str, ...]:
    """Return the paths of a script and all that it imports, in the order in which they run."""
    modules: dict[str, None] = {}

    def visit(path: str) -> None:
        for imported in _imports(path):
            if imported not in modules:
                visit(imported)
        modules[path] = None

    visit(entry)
    return tuple(modules)


def _bound(path: str) -> str:
    """Return a script that takes what it imports from the modules of its bundle."""

    def bind(match: re.Match[str]) -> str:
        names = match[1] or match[2].replace(" as ", ": ")
        return f'const {names} = modules["{_resolve(path, match[3])}"];'

    return _IMPORT.sub(bind, SOURCES[path])


def _scoped(path: str) -> str:
    """Return a module of a bundle: a function with a scope of its own, called for its exports."""
    exports: list[str] = []

    def collect(match: re.Match[str]) -> str:
        if match["module"]:
            exports.append(f'...modules["{_resolve(path, match["module"])}"]')
        else:
            exports.append(match["names"] or match["name"])
        return match["declaration"] or ""

    body = _EXPORT.sub(collect, _bound(path))
    return f'modules["{path}"] = (() => {{\n{body}\nreturn {{ {", ".join(exports)} }};\n}})();\n'


_SCRIPTS = [path for path in SOURCES if path.endswith(".js")]
_MODULES = {path: rjsmin.jsmin(_scoped(path)) for path in _SCRIPTS}


def _bundle(entry: str) -> bytes:
    """Return a script behind all that it imports; it also exports them, by path."""
    *imported, _ = modules_of(entry)
    parts = ("export const modules = {};", *(_MODULES[path] for path in imported))
    return "\n".join((*parts, rjsmin.jsmin(_bound(entry)))).encode()


ASSETS: Mapping[str, Asset] = {
    path: Asset("text/css", source.encode())
    for path, source in SOURCES.items()
    if path.endswith(".css")
} | {
    path: Asset("text/javascript", _bundle(path))
    for path in _SCRIPTS
    if path.startswith("js/pages/") or path in {"js/parts/palette.js", "js/core/shared.js"}
}
"""Static files by path: style sheets, and the scripts that a page or another script loads."""

_CONTENT = b"".join(path.encode() + asset.content for path, asset in ASSETS.items())
VERSION = sha256(_CONTENT).hexdigest()[:12]
"""Hash of all static files: URLs with it can be cached forever."""

ROOT = f"/static/{VERSION}"
"""Path prefix of static files."""


def sheets_of(entry: str) -> tuple[str, ...]:
    """Return the paths of the style sheets of a page: the common one, its own, its scripts'.

    ``css/parts/diff.css`` styles the elements of ``js/parts/diff.js``.
    """
    scripts = (path.removeprefix("js/").removesuffix(".js") for path in modules_of(entry))
    own = entry.removeprefix("js/pages/").removesuffix(".js")
    paths = ("app.css", *(f"css/{name}.css" for name in (*scripts, own)))
    return tuple(path for path in paths if path in ASSETS)
