"""The rules that the source tree is held to, each a function from a tree to what breaks it."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from posixpath import dirname, join, normpath

PACKAGE = "crawlyard"
MOST_LINES = 600
MOST_FUNCTION_LINES = 60
MOST_FILES = 25

PORTS = ("messaging.bus", "messaging.dispatcher")
STORE_INSIDE = "store.inside"  # internals of the store, for the modules that open it
_INSIDE = (
    "store.admin",
    "store.codec",
    "store.db",
    "store.migrations",
    "store.open",
    "store.tables",
)
BACKENDS = ("messaging", STORE_INSIDE)
BASICS = frozenset({"about", "clock", "errors", "ids", "lazy"})

_SERVICES = {"services", "engine", "store", *PORTS, "core", "config"}
MAY_IMPORT: Mapping[str, set[str]] = {
    # area: which other areas it may import, beside BASICS; the wider the further out
    **{basic: set() for basic in BASICS},
    "core": set(),
    "config": {"core"},
    "trust": set(),  # of TLS: for the engine and for clients
    "engine": {"core", "trust"},
    **{port: {"core"} for port in PORTS},
    "store": {STORE_INSIDE, "core"},
    STORE_INSIDE: {"store", "core", "config"},
    "messaging": {*PORTS, "core"},
    "export": {"core"},
    "services": {"engine", "store", *PORTS, "core", "config", "export"},
    "worker_factory": _SERVICES,
    "yard": {"worker_factory", "trust", *_SERVICES, *BACKENDS},  # alone in naming a backend
    "databases": {STORE_INSIDE, *_SERVICES},  # whole ones
    "child": {"yard", "worker_factory", *_SERVICES},
    "web": {"api", "bridges", "yard", "export", *_SERVICES},
    "api": {"yard", "services", "core", "config", "trust"},
    "bridges": {"api", "core"},  # the surface alone, as any program of a user
    "sync": {"api", "config"},
    "demo": set(),
    "cli": {"web", "api", "bridges", "yard", "databases", "export", "demo", *_SERVICES, ""},
    "__main__": {"cli"},
    # the package itself names its parts to type checkers alone
    "": {"public_names"},
    "public_names": set(),
}

NOUNS: Mapping[str, tuple[str, ...]] = {
    # noun: the layers in which a folder, or one module, has its name; docs/architecture.md has them
    "access": ("core", "services", "store"),
    "attention": ("core", "services", "store"),
    "crawl": ("core", "store"),
    "events": ("core", "services", "store"),
    "hosts": ("core", "engine", "services", "store"),
    "instance": ("core", "services"),
    "jobs": ("core", "services", "store", "cli"),
    "operations": ("core", "services", "store"),
    "results": ("services",),
    "schedules": ("core", "services", "store", "cli"),
    "search": ("core", "services", "store"),
    "stats": ("core", "services", "store"),
    "templates": ("core", "services", "store", "cli"),
    "upkeep": ("services", "store"),
    "webhooks": ("core", "services", "store", "cli"),
    "workers": ("core", "services", "store"),
}
MECHANISMS: Mapping[str, tuple[str, ...]] = {
    # layer: its folders that are about no single noun
    "core": ("endpoints", "text"),
    "engine": ("extract", "http", "render", "robots", "visit"),
    "store": ("admin", "codec", "db", "migrations", "migrations.versions", "tables"),
    "web": ("live",),
    "bridges": ("firecrawl", "mcp"),
    "cli": ("render", "server", "sites"),
}

HOMES: Mapping[str, tuple[str, ...]] = {
    # dependency: the one module or folder that imports it
    "aiohappyeyeballs": ("engine.http.connect",),
    "anyio": ("api.blocking",),
    "alembic": ("store.migrations",),
    "brotli": ("engine.http.decode",),
    "can_ada": ("engine.urls",),
    "cronsim": ("core.schedules.timetable",),
    "cryptography": ("services.access.sealing",),
    "h11": ("web.server",),  # of uvicorn's connections
    "httptools": ("engine.http.response_parser",),
    "httpx": ("api",),
    "isal": ("engine.http.decode",),
    "jinja2": ("web.pages",),
    "markdown_it": ("web.markdown",),
    "prometheus_client": ("services.instance.metrics",),
    "psycopg": ("messaging.locks",),  # in the store, SQLAlchemy loads it
    "publicsuffixlist": ("engine.scope",),
    "pyarrow": ("export.parquet",),
    "pypdf": ("engine.extract.pdf",),
    "re2": ("engine.scope",),
    "redis": ("messaging.redis_bus",),
    "rich": ("cli",),
    "rjsmin": ("web.assets",),
    "sqlalchemy": ("store",),
    "standardwebhooks": ("services.webhooks.signing",),
    "starlette": ("bridges", "web"),
    "structlog": ("cli",),
    "turbohtml": ("engine.extract",),
    "typer": ("cli",),
    "uuid_utils": ("ids",),
    "uvicorn": ("web.server", "web.websockets"),
    "uvloop": ("cli",),
    "warcio": ("export.warc",),
    "websockets": ("engine.render.websocket",),
    "xxhash": ("engine.urls",),
    "yaml": ("services.templates.yaml",),
    # zstd, part of Python itself from 3.14 on
    "backports": ("engine.http.decode", "store.codec"),
    # wherever untyped values enter or leave
    "mcp": ("bridges.mcp",),
    "pydantic": ("bridges.mcp",),
    "msgspec": (
        "api",
        "bridges",
        "messaging.redis_bus",
        "config",
        "core",
        "engine.extract.parse_child",
        "engine.extract.parse_pool",
        "export.jsonl",
        "store.codec",
        "web",
    ),  # but for records, which are everywhere
}
RECORDS = frozenset(
    {
        *("msgspec.Struct", "msgspec.Meta", "msgspec.defstruct"),
        *("msgspec.field", "msgspec.NODEFAULT", "msgspec.UNSET", "msgspec.UnsetType"),
        *("msgspec.structs.replace", "msgspec.structs.fields", "msgspec.structs.asdict"),
        "msgspec.structs.force_setattr",
    }
)
"""What records are made of, in every module."""

KEEPS_TIME = (
    "clock",
    "demo",  # its site writes a log of its own, in real time
    "engine.extract.loop_load",  # measures the processor time of its thread
)
# by name, for a quick start
FOR_CHECKERS = ("", "public_names")
"""Modules that import the parts of the package where only type checkers look."""

LOADS_LATE = (
    "",
    "lazy",
    "web.bridges",
    "messaging.postgres_dispatcher",
    "store.open",
    "store.db.schema",
)

_PYTHON_LATER = frozenset({"compression"})  # in the standard library from 3.14 on
_CLOCKS = re.compile(
    r"\b(time\.(sleep|time|monotonic|perf_counter)(_ns)?|date(time)?\.(now|utcnow|today))\("
)
_SLEEPS = re.compile(r"\basyncio\.sleep\((?!0\))")
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str  # without the package: "engine.crawl"; the package itself is ""
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def area(self) -> str:
        """Its row of MAY_IMPORT."""
        return area_of(self.name)

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def imports(self, *, typing: bool = True) -> Iterator[str]:
        """Yield what it imports, with the names of `from` imports.

        *typing*: what it imports for type checkers as well.
        """
        skipped = set() if typing else self._typing_only()
        for node in ast.walk(self.tree):
            if node in skipped:
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def _typing_only(self) -> set[ast.AST]:
        return {
            inside
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for statement in node.body
            for inside in ast.walk(statement)
        }


class Tree:
    """All modules of a package: their texts by their names."""

    def __init__(self, texts: Mapping[str, str], package: str = PACKAGE) -> None:
        self._package = package
        self.modules = [Module(name, text) for name, text in texts.items()]
        self._names = set(texts)

    @classmethod
    def of(cls, folder: Path) -> "Tree":
        files = sorted(folder.rglob("*.py"))
        texts = {_name(f.relative_to(folder)): f.read_text("utf-8") for f in files}
        return cls(texts, folder.name)

    def own(self, imported: str) -> str | None:
        """Return the module of ours that *imported* is, or is in; None if it is not ours."""
        if imported.partition(".")[0] != self._package:
            return None
        name = imported.removeprefix(self._package).removeprefix(".")
        while name not in self._names:
            name = name.rpartition(".")[0]
        return name

    def edges(self, module: Module, *, typing: bool = True) -> set[str]:
        """Return the modules of ours that *module* imports."""
        own = (self.own(imported) for imported in module.imports(typing=typing))
        return {name for name in own if name is not None} - {module.name}


def _name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def area_of(name: str) -> str:
    """Return the row of MAY_IMPORT that the module *name* belongs to."""
    if is_in(name, _INSIDE):
        return STORE_INSIDE
    port = next((port for port in PORTS if is_in(name, (port,))), None)
    return port or name.partition(".")[0]


def is_in(name: str, homes: tuple[str, ...]) -> bool:
    """Tell whether the module *name* is one of *homes*, or inside one that is a folder."""
    return any(name == home or (home and name.startswith(f"{home}.")) for home in homes)


# --- the rules


def imports_point_inward(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        allowed = MAY_IMPORT.get(module.area)
        if allowed is None:
            yield f"{module.name}: the architecture knows no {module.area}"
            continue
        for name in sorted(tree.edges(module, typing=module.name not in FOR_CHECKERS)):
            area = area_of(name)
            if area not in {module.area, *allowed, *BASICS}:
                yield f"{module.name} imports {name}"


def basics_import_nothing_of_ours(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        if module.name in BASICS:
            yield from (f"{module.name} imports {name}" for name in tree.edges(module))


def core_is_pure(tree: Tree) -> Iterator[str]:
    impure = {"asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time"}
    for module in tree.modules:
        if module.area != "core":
            continue
        for imported in module.imports():
            top = imported.partition(".")[0]
            own = tree.own(imported)
            is_pure = top in {"cronsim", "msgspec"}
            is_pure |= top in sys.stdlib_module_names and top not in impure
            if not is_pure and own != "errors" and area_of(own or "") != "core":
                yield f"{module.name} imports {imported}"


def dependencies_are_at_home(tree: Tree) -> Iterator[str]:
    lived_in = set()
    for module in tree.modules:
        for imported in module.imports():
            top = imported.partition(".")[0]
            if top in sys.stdlib_module_names or top in {PACKAGE, "__future__", *_PYTHON_LATER}:
                continue
            if imported in RECORDS:
                continue
            homes = HOMES.get(top, ())
            lived_in |= {(top, home) for home in homes if is_in(module.name, (home,))}
            if not is_in(module.name, homes):
                yield f"{module.name} imports {top}, whose home is {' or '.join(homes) or 'none'}"
    for name, homes in HOMES.items():
        yield from (f"{home} needs no {name}" for home in homes if (name, home) not in lived_in)


def modules_are_short(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        lines = module.text.count("\n")
        if lines > MOST_LINES:
            yield f"{module.name} has {lines} lines"


def folders_are_small(tree: Tree) -> Iterator[str]:
    names = [module.name for module in tree.modules]
    folders = {name.rpartition(".")[0] for name in names}
    files = Counter(name if name in folders else name.rpartition(".")[0] for name in names)
    for folder, many in files.items():
        if many > MOST_FILES:
            yield f"{folder} has {many} files"


def folders_are_nouns(tree: Tree) -> Iterator[str]:
    names = {module.name for module in tree.modules}
    folders = {name.rpartition(".")[0] for name in names}
    expected = {f"{layer}.{noun}" for noun, layers in NOUNS.items() for layer in layers}
    mechanisms = {f"{layer}.{part}" for layer, parts in MECHANISMS.items() for part in parts}
    for folder in sorted(folder for folder in folders if "." in folder):
        if folder not in expected | mechanisms:
            yield f"{folder} is neither a noun nor a mechanism of its layer"
    yield from (
        f"{place} is missing" for place in sorted((expected | mechanisms) - names - folders)
    )


def functions_are_short(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        for function in module.functions():
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > MOST_FUNCTION_LINES:
                yield f"{module.name}.{function.name} has {lines} lines"


def imports_make_no_cycle(tree: Tree) -> Iterator[str]:
    return cycles({m.name: tree.edges(m, typing=m.name not in FOR_CHECKERS) for m in tree.modules})


def cycles(edges: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield each cycle of *edges* as a path of names."""
    through: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield " → ".join((*path[path.index(name) :], name))
        elif name not in through:
            for further in sorted(edges[name]):
                yield from walk(further, (*path, name))
            through.add(name)

    for name in edges:
        yield from walk(name, ())


_SCRIPT_IMPORT = re.compile(r'"(\.{1,2}/[\w/.-]+\.js)"')


def script_edges(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the scripts that each script names: by `import`, `import()` or `new URL`."""
    return {
        path: {
            imported
            for name in _SCRIPT_IMPORT.findall(text)
            if (imported := normpath(join(dirname(path), name))) in texts
        }
        for path, text in texts.items()
    }


RESOURCES = frozenset(
    {
        "importlib.metadata.requires",
        "importlib.metadata.version",
        "importlib.resources.abc.Traversable",
        "importlib.resources.files",
    }
)
"""What is read of a package beside its code: no module is loaded by them."""


def imports_stand_at_the_top(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        for function in module.functions():
            if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function)):
                yield f"{module.name}.{function.name} imports"
        late = {name for name in module.imports() if name.partition(".")[0] == "importlib"}
        if late - RESOURCES and module.name not in LOADS_LATE:
            yield f"{module.name} loads modules by name"


def time_is_passed_in(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        if is_in(module.name, KEEPS_TIME):
            continue
        if any(name.startswith("time.") or name == "time" for name in module.imports()):
            yield f"{module.name} imports time"
        code = ast.unparse(module.tree)
        yield from (f"{module.name} reads a clock: {m[0]}…" for m in _CLOCKS.finditer(code))
        if module.area in {"core", "engine", "services"}:
            yield from (f"{module.name} sleeps by itself" for _ in _SLEEPS.finditer(code))


def nothing_is_unfinished(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        yield from (f"{module.name}: {m[0]}" for m in _UNFINISHED.finditer(module.text))


def what_is_public_is_documented(tree: Tree) -> Iterator[str]:
    for module in tree.modules:
        if is_in(module.name, ("store.migrations.versions",)):
            continue  # called by Alembic alone
        if ast.get_docstring(module.tree) is None:
            yield f"{module.name} has no docstring"
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None:
                yield f"{module.name}.{node.name} has no docstring"


RULES: tuple[Callable[[Tree], Iterator[str]], ...] = (
    imports_point_inward,
    basics_import_nothing_of_ours,
    core_is_pure,
    dependencies_are_at_home,
    modules_are_short,
    folders_are_small,
    folders_are_nouns,
    functions_are_short,
    imports_make_no_cycle,
    imports_stand_at_the_top,
    time_is_passed_in,
    nothing_is_unfinished,
    what_is_public_is_documented,
)
