import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

RUN = "def test_a() -> None: ...\n"
SKIPPED = f"import pytest\n\n{RUN}\ndef test_b() -> None:\n    pytest.skip('no server')\n"


def run_tests(folder: Path, text: str, *options: str) -> tuple[int, str]:
    """Run a test file with the plugin; return the exit code and what was said."""
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", str(folder)],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (RUN, ("-p", "tests.no_skips"), 0),
        (SKIPPED, (), 0),
        (SKIPPED, ("-p", "tests.no_skips"), 1),
        (SKIPPED, ("-p", "tests.no_skips", "-k", "test_a"), 0),
    ],
    ids=["all run", "without the plugin", "one skipped", "one deselected"],
)
def test_what_was_not_run_fails_where_nothing_may_be_left_out(
    tmp_path: Path, text: str, options: tuple[str, ...], code: int
) -> None:
    exit_code, stdout = run_tests(tmp_path, text, *options)

    assert exit_code == code, stdout
    assert ("nothing may be left out here" in stdout) == (code != 0)
