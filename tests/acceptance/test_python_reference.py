"""The examples of the Python reference, each run as written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from crawlyard import Settings, public_names, sync
from tests.acceptance.shell import MINUTE, environment

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "python.md").read_text("utf-8")


def run_program(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=False,
    )


@pytest.mark.slow
def test_each_example_runs_as_it_stands(tmp_path: Path, site: str) -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    opened = f'max_pages=3, delay=0, allow_addresses="{site.split("/")[2]}"'
    for n, written in enumerate(programs):
        folder = tmp_path / str(n)
        folder.mkdir()
        program = written
        crawls = "yard.jobs.run(" in program
        if crawls:
            program = program.replace("https://docs.example.org/", site)
            program = program.replace("max_pages=100", opened)

        ran = run_program(program, folder)

        assert ran.returncode == 0, f"{program}\n{ran.stderr}"
        if crawls:
            assert ran.stdout.count(f"200 {site}") == 3


def test_every_public_name_is_on_the_page() -> None:
    missing = [name for name in public_names.__all__ if not re.search(rf"\b{name}\b", PAGE)]

    assert missing == []


@pytest.mark.slow
def test_the_program_of_the_tutorial_runs(tmp_path: Path, site: str) -> None:
    page = (DOCS / "tutorial.md").read_text("utf-8")
    [program] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    opened = f'max_pages=3, delay=0, allow_addresses="{site.split("/")[2]}"'
    program = program.replace("https://docs.python.org/3/", site)

    ran = run_program(program.replace("max_pages=50", opened), tmp_path)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count(f"200 {site}") == 3


@pytest.mark.slow
def test_the_program_that_reads_changes_runs_as_it_stands(tmp_path: Path) -> None:
    page = (DOCS / "howto" / "watch-changes.md").read_text("utf-8")
    [program] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with sync.open(Settings(data_dir=tmp_path / "crawlyard-data")) as yard:
        yard.schedules.create("nightly", "@daily", "https://docs.example.org/")

    ran = run_program(program, tmp_path)

    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
