"""Rules for names and docstrings: a variable is named by what it holds, prose is plain English.

Each rule is a function from the nodes of a module's syntax tree to the lines that break it.
"""

import ast
import re
from collections.abc import Callable, Iterator, Sequence

Finding = tuple[int, str]
"""A line number, and the text on that line."""

Nodes = Sequence[ast.AST]
"""All nodes of a module: walking a tree takes most of the time."""

Rule = Callable[[Nodes], Iterator[Finding]]

VAGUE = frozenset(
    {
        *("asked", "both", "found", "given", "gone", "got", "had", "heard", "held", "judged"),
        *("kept", "known", "left", "let", "made", "meant", "met", "one", "others", "put", "said"),
        *("seen", "shown", "taken", "theirs", "these", "those", "told", "wanted", "what", "who"),
        *("whom", "wished"),
    }
)
"""Participles and pronouns that say what was done to a value, or nothing, instead of what it is."""

_CLAUSE = re.compile(r"(What|Whatever|Who|Whoever|Whose|Whom|How|Whether|That)\b")
_ODD = re.compile(
    r"\b(who(?:ever|soever)|whatever|nobody|anybody|somebody|heed(?:s|ed)?|he|his|him|hitherto|"
    r"thereof|come again|as it wishes|tell(?:s|ing)? of|told of|for want of|knows not|nothing of"
    r")\b",
    re.IGNORECASE,
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def vague_names(nodes: Nodes) -> Iterator[Finding]:
    """Yield variables, parameters, attributes and functions with a name of `VAGUE`.

    Fields of classes are left out: they are columns, or fields of JSON.
    """
    fields = {
        id(statement.target)
        for node in nodes
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if id(node) not in fields:
                line = node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                line = node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                line = node.lineno
            case _:
                continue
        if name.lstrip("_") in VAGUE:
            yield line, name


def clauses(nodes: Nodes) -> Iterator[Finding]:
    """Yield docstrings that begin with a clause where a noun or an imperative belongs."""
    for line, first, _ in _docstrings(nodes):
        if _CLAUSE.match(first):
            yield line, first


def returning_properties(nodes: Nodes) -> Iterator[Finding]:
    """Yield docstrings of properties that begin with "Return": a property is a noun."""
    for line, first, node in _docstrings(nodes):
        if isinstance(node, _Function) and first.startswith("Return "):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if any("property" in decorator for decorator in decorators):
                yield line, first


def odd_words(nodes: Nodes) -> Iterator[Finding]:
    """Yield docstrings with words that no other documentation of software uses."""
    for line, first, node in _docstrings(nodes):
        if word := _ODD.search(ast.get_docstring(node) or ""):
            yield line, f"{word[0]!r} in: {first}"


RULES: tuple[Rule, ...] = (
    vague_names,
    clauses,
    returning_properties,
    odd_words,
)


def _docstrings(
    nodes: Nodes,
) -> Iterator[tuple[int, str, ast.Module | ast.ClassDef | _Function]]:
    """Yield each docstring's line, its first line, and the node that it documents."""
    for node in nodes:
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield node.body[0].lineno, docstring.partition("\n")[0], node
