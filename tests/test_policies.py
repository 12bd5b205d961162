"""CONTRIBUTING.md and SECURITY.md say what is so."""

import ast
import re
from pathlib import Path

from tests.dependencies import ROOT
from tests.test_docs import blocks, named

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")

CONNECTIONS = [
    "HTTP API",
    "Dashboard",
    "Event streams",
    "Webhooks, outgoing",
    "Crawl requests, outgoing",
    "Proxies, outgoing",
    "Rendering browser",
    "Redis",
    "Postgres",
    "Metrics",
]


def rows() -> list[list[str]]:
    """Return the cells of the threat model: connection, users, protection, tests."""
    table = SECURITY.partition("\n| --- |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[1:]]


def functions_of(path: Path) -> set[str]:
    """Return the names of all functions in a file."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_set_up_for_contributors_is_the_second_command_of_the_readme() -> None:
    assert blocks(CONTRIBUTING, "sh")[0].strip() == named("test it")


def test_the_style_is_ten_lines() -> None:
    style = CONTRIBUTING.partition("## Style\n\n")[2].partition("\n\n")[0]

    numbers = [int(line.partition(".")[0]) for line in style.splitlines()]

    assert numbers == list(range(1, 11))


def test_the_threat_model_has_every_connection() -> None:
    assert [connection for connection, *_ in rows() if connection] == CONNECTIONS


def test_each_defence_names_a_test_that_exists() -> None:
    for *_, protection, tests in rows():
        names = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert names, f"no test for: {protection}"
        for path, name in names:
            assert name in functions_of(ROOT / path), f"{path} has no {name}"


def test_files_that_are_named_for_contributors_exist() -> None:
    for path in re.findall(r"`(?:python -m )?((?:\.ci/|tests[/.])[\w/.]+)", CONTRIBUTING):
        file = path if "/" in path else f"{path.replace('.', '/')}.py"
        assert (ROOT / file).exists(), path
    for path in re.findall(r"`((?:core|engine)/[\w/]+\.py)`", CONTRIBUTING):
        assert (ROOT / "src" / "crawlyard" / path).exists(), path
