"""Examples: each is short, listed and run; the page on workflow engines runs as written."""

import re
from pathlib import Path

import pytest

from tests.acceptance.test_python_reference import run_program

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples"
EXAMPLES = [
    *(path for path in FOLDER.glob("*.*") if path.suffix != ".md"),
    FOLDER / "link-check" / "action.yml",
    *(FOLDER / "workflow_engines").glob("*.py"),
]
PAGE = ROOT / "docs" / "howto" / "workflow-engines.md"


def test_an_example_is_short_listed_and_run() -> None:
    script = (ROOT / ".ci" / "examples").read_text("utf-8")
    pages = (FOLDER / "README.md").read_text("utf-8") + PAGE.read_text("utf-8")
    [light, heavy] = re.findall(r"^(?:light|heavy)=\((.*)\)$", script, re.MULTILINE)
    run = {*light.split(), *heavy.split()}

    names = {"link_check" if path.name == "action.yml" else path.stem: path for path in EXAMPLES}

    assert names.keys() == run
    for name, path in names.items():
        assert path.name in pages
        assert (ROOT / ".ci" / "examples.d" / f"{name}.py").exists()
        assert len(path.read_text("utf-8").splitlines()) <= 85, path


@pytest.mark.slow
def test_the_program_of_the_page_on_workflow_engines_runs(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    [program] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    process = run_program(program, tmp_path)

    assert process.returncode == 0, process.stderr
