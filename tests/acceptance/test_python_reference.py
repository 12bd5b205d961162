"""The examples of the Python reference, each run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from crawlyard import public_names
from tests.acceptance.shell import MINUTE, environment

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "python.md").read_text("utf-8")


@pytest.mark.slow
def test_each_example_runs_as_it_stands(tmp_path: Path, site: str) -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    opened = f'limits=Limits(pages=3), delay_s=0, allow_addresses=("{site.split("/")[2]}",)'
    for n, written in enumerate(programs):
        folder = tmp_path / str(n)
        folder.mkdir()
        program = written
        if "yard.worker(" in program:  # it crawls
            program = program.replace("https://docs.example.org/", site)
            program = program.replace("limits=Limits(pages=100)", opened)

        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=MINUTE,
            check=False,
        )

        assert ran.returncode == 0, f"{program}\n{ran.stderr}"
        if "yard.worker(" in program:
            assert ran.stdout.count(f"200 {site}") == 3


def test_every_public_name_is_on_the_page() -> None:
    missing = [name for name in public_names.__all__ if not re.search(rf"\b{name}\b", PAGE)]

    assert missing == []
