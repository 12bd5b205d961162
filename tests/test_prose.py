"""Names and docstrings keep to the rules of `tests.prose`, and each rule notices what breaks it."""

import ast
from pathlib import Path

import pytest

from tests import prose

ROOT = Path(__file__).parents[1]

MOST: dict[str, dict[prose.Rule, int]] = {
    # the most violations of each rule that a folder may have; only ever lower these
    "src": {
        prose.vague_names: 1,
        prose.clauses: 0,
        prose.returning_properties: 0,
        prose.odd_words: 0,
    },
    "tests": {
        prose.vague_names: 1,
        prose.clauses: 0,
        prose.returning_properties: 0,
        prose.odd_words: 0,
    },
    "bench": {
        prose.vague_names: 0,
        prose.clauses: 0,
        prose.returning_properties: 0,
        prose.odd_words: 0,
    },
}

BROKEN: list[tuple[prose.Rule, str, str]] = [
    (prose.vague_names, "found = 1", "found"),
    (prose.vague_names, "def f(asked): ...", "asked"),
    (prose.vague_names, "def f(self): self._held = 1", "_held"),
    (prose.vague_names, "async def told(): ...", "told"),
    (prose.vague_names, "[one for one in ()]", "one"),
    (prose.clauses, '"""What keeps what."""', "What keeps what."),
    (prose.clauses, 'def f():\n    """Whether it is due."""', "Whether it is due."),
    (
        prose.returning_properties,
        'class A:\n    @cached_property\n    def b(self):\n        """Return the b."""',
        "Return the b.",
    ),
    (prose.odd_words, '"""Events, for whoever listens."""', "'whoever' in: Events, for whoever"),
]


@pytest.mark.parametrize("folder", MOST)
def test_names_and_docstrings_are_plain(folder: str) -> None:
    findings: dict[prose.Rule, list[str]] = {rule: [] for rule in prose.RULES}
    for path in sorted((ROOT / folder).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        for rule in prose.RULES:
            findings[rule] += [
                f"{path.relative_to(ROOT)}:{line}: {text}" for line, text in rule(nodes)
            ]

    for rule, most in MOST[folder].items():
        assert len(findings[rule]) <= most, "\n".join([rule.__name__, *findings[rule]])


@pytest.mark.parametrize(("rule", "text", "finding"), BROKEN)
def test_each_rule_notices_what_breaks_it(rule: prose.Rule, text: str, finding: str) -> None:
    findings = [message for _, message in rule(list(ast.walk(ast.parse(text))))]

    assert [message.startswith(finding) for message in findings] == [True]


def test_fields_of_records_and_plain_names_pass() -> None:
    tree = ast.parse('class A:\n    """A job."""\n    found: int\npages = leases = 1')

    assert [finding for rule in prose.RULES for finding in rule(list(ast.walk(tree)))] == []
