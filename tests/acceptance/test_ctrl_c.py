"""Ctrl-C while a command loads: the command ends and prints nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.shell import MINUTE, environment

FIRST = " crawlyard"
"""End of the line of Crawlyard's first import; earlier ones are Python's own."""


def interrupt(folder: Path, imports: int, *words: str) -> tuple[int, str]:
    """Send Ctrl-C *imports* imports after the first; return the exit code and the output since."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "crawlyard", *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.rstrip().endswith(FIRST):
                    break
            for _ in range(imports):
                assert process.stderr.readline().startswith("import time:")
            process.send_signal(signal.SIGINT)
            written = process.stderr.readlines()
            code = process.wait(MINUTE)
        finally:
            process.kill()
    return code, "".join(line for line in written if not line.startswith("import time:"))


def test_ctrl_c_ends_a_loading_command_silently(tmp_path: Path) -> None:
    for words, steps in (
        (("jobs", "list"), (20, 300)),
        (("work", "-q"), (100, 350, 600)),
    ):
        for imports in steps:
            code, written = interrupt(tmp_path, imports, *words)
            assert (code in (130, -signal.SIGINT), written) == (True, ""), (words, imports)


UNTIL_QUIET = """
import _signal, sys

def note(event, arguments):
    if event == "import" and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        names.append(arguments[0])

names = []
sys.argv[1:] = ["--version"]
sys.addaudithook(note)
try:
    {start}
finally:
    sys.stderr.write(" ".join(names))
"""
"""Program that writes the modules imported before Ctrl-C stops printing a traceback."""


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        # as the console script does
        ("from crawlyard.__main__ import run; run()", ["crawlyard", "crawlyard.__main__"]),
        # as -m does; `__main__` itself is run, not imported
        (
            "__import__('runpy').run_module('crawlyard', run_name='__main__', alter_sys=True)",
            ["crawlyard"],
        ),
    ],
    ids=["script", "module"],
)
def test_a_command_loads_no_other_module_until_ctrl_c_is_quiet(
    tmp_path: Path, start: str, expected: list[str]
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", UNTIL_QUIET.format(start=start)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=True,
    )
    names = ran.stderr.split()
    first = next(index for index, name in enumerate(names) if name.startswith("crawlyard"))
    assert sorted(names[first:]) == expected  # earlier names: runpy and its imports
