"""Planted defects, as the text files beside this module list them, and where they are planted.

    # the promise that is broken, as a title
    module:Class.method < the tests that should notice it
    - text that stands exactly once in the source of that method
    + what replaces it
    ! why no test can notice it (at most four have this line)

The name is that of a function, a class or a constant of a module. The module is the end of its
name and can be left out where the rest is unique. Tests are files, or FILE::TEST, relative to
tests/. Edits of several lines have several - and + lines.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TREE = Path(__file__).resolve().parents[2]


class Misplaced(Exception):
    """A defect that cannot be planted, or whose tests cannot be run."""


class Defect(NamedTuple):
    """One small edit, and the tests that should notice it."""

    title: str
    where: str
    tests: Sequence[str]
    old: str
    new: str
    reason: str  # why no test can notice it; empty: one must


class Definition(NamedTuple):
    path: str  # relative to the tree
    module: str
    first: int  # from 0
    end: int


class Edit(NamedTuple):
    """A file of the tree, relative to it, and what it contains once a defect is planted."""

    path: str
    content: str


def list_defects() -> Iterator[Defect]:
    """Yield all planted defects."""
    for file in sorted(Path(__file__).parent.glob("*.txt")):
        for entry in file.read_text().split("\n# ")[1:]:
            title, place, *rest = entry.splitlines()
            where, _, tests = place.partition(" < ")
            old, new, reason = ("\n".join(x[2:] for x in rest if x[:2] == f"{m} ") for m in "-+!")
            yield Defect(title, where, tests.split(), old, new, reason)


def places() -> dict[str, list[Definition]]:
    """Return the definitions of the source by their names, without those of the modules."""
    definitions: dict[str, list[Definition]] = defaultdict(list)
    for path in sorted((TREE / "src" / "crawlyard").rglob("*.py")):
        name = path.relative_to(TREE / "src").with_suffix("")
        for qualified, first, end in _definitions(ast.parse(path.read_text())):
            place = Definition(str(path.relative_to(TREE)), f".{'.'.join(name.parts)}", first, end)
            definitions[qualified].append(place)
    return definitions


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                first = min(each.lineno for each in (child, *child.decorator_list))
                yield prefix + child.name, first - 1, child.end_lineno or first
                yield from _definitions(child, f"{prefix}{child.name}.")
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name))
            ) if not prefix:
                yield name, child.lineno - 1, child.end_lineno or child.lineno


def edit_of(defect: Defect, among: Mapping[str, Sequence[Definition]]) -> Edit:
    """Return the edit that plants a defect.

    Raises:
        Misplaced: its place or its text is not found, or more than once.
    """
    module, _, name = defect.where.rpartition(":")
    matches = [p for p in among.get(name, ()) if not module or p.module.endswith(f".{module}")]
    if len(matches) != 1:
        modules = ", ".join(place.module[1:] for place in matches) or "no module"
        raise Misplaced(f"{defect.where} is defined in {modules}, expected exactly one")
    path, _, first, end = matches[0]
    lines = (TREE / path).read_text().splitlines(keepends=True)
    source = "".join(lines[first:end])
    if (count := source.count(defect.old)) != 1:
        raise Misplaced(f"{defect.where} has {defect.old!r} {count} times, expected exactly once")
    return Edit(
        path, "".join([*lines[:first], source.replace(defect.old, defect.new), *lines[end:]])
    )
