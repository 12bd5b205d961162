"""Plant small defects in a copy of the tree, one at a time; report those that no test notices.

    python -m tests.mutants [-j N] [-k REGEX] [--list]

Exits with 1 if a defect survives that has no reason to, and with 2 if an edit or a test is not
found, or a test that noticed one fails without any as well.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.mutants.edits import TREE, Defect, Edit, Misplaced, edit_of, list_defects, places

TIMEOUT_S = 600.0
"""For the tests of one defect, which take seconds; a single one that hangs is ended sooner."""

MOST_SURVIVORS = 4

_COPIED = ("src", "tests", "docs", "deploy", "pyproject.toml", "README.md", "CHANGELOG.md")
_IGNORED = shutil.ignore_patterns("__pycache__", ".*_cache")
_PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=60")
_SAME_EXAMPLES = "--hypothesis-profile=ci"
_FAST = ("-k", "not postgres")  # what Postgres alone would notice costs too much here
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/(\S*?\.py.*?)(?: - (.*))?$", re.MULTILINE)
_PRINT = "import crawlyard; print(crawlyard.__file__, flush=True)"
_FROM_CHILD = f"subprocess.run([sys.executable, '-c', {_PRINT!r}], check=True, cwd='/')"


class Verdict(NamedTuple):
    """Outcome of the tests of one defect."""

    killer: str  # the test that failed; empty: none did
    hung: bool  # the test, or all tests together, took too long
    seconds: float

    def __str__(self) -> str:
        if self.hung:
            return f"{self.killer} (time-out)".strip()
        return self.killer or "SURVIVED"


class Copy:
    """A copy of the tree, in which defects are planted and tests run."""

    def __init__(self, tree: Path, to: Path) -> None:
        """Copy what tests need.

        Raises:
            Misplaced: processes import another crawlyard than that of the copy.
        """
        self._tree = to
        self._env = os.environ | {"PYTHONPATH": str(to / "src"), "PYTEST_ADDOPTS": ""}
        to.mkdir()
        for name in _COPIED:
            if (tree / name).is_dir():
                shutil.copytree(tree / name, to / name, ignore=_IGNORED)
            else:
                shutil.copy2(tree / name, to / name)
        output = self._python(
            "-c", f"import subprocess, sys; {_PRINT}; {_FROM_CHILD}"
        ).communicate()[0]
        if set(output.split()) != {str(to / "src" / "crawlyard" / "__init__.py")}:
            raise Misplaced(f"expected an import from {to}, got {output}")

    def judge(self, defect: Defect, edit: Edit) -> Verdict:
        """Plant a defect, run its tests, and take it out again. Raises `Misplaced` as `run`."""
        file = self._tree / edit.path
        before = file.read_text()
        self._write(file, edit.content)
        try:
            return self.run(defect.tests)
        finally:
            self._write(file, before)

    def run(self, tests: Sequence[str]) -> Verdict:
        """Run tests until one fails.

        Raises:
            Misplaced: there are no such tests.
        """
        for name in tests:
            if not (self._tree / "tests" / name.partition("::")[0]).exists():
                raise Misplaced(f"there is no tests/{name}: was it moved?")
        began = time.monotonic()
        # a test that is named by itself runs, though it is slow or needs Postgres
        selection = ("-m", "") if any("::" in name for name in tests) else _FAST
        files = (f"tests/{name}" for name in tests)
        process = self._python(*_PYTEST, _SAME_EXAMPLES, *selection, *files)
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return Verdict("", True, time.monotonic() - began)
        finally:
            with suppress(ProcessLookupError):  # at its regular end, nothing is left of it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        failure = _FAILED.search(output)
        if process.returncode and failure is None:
            raise Misplaced(f"pytest {' '.join(tests)} could not run:\n{output[-2000:]}")
        if failure is None:
            return Verdict("", False, time.monotonic() - began)
        return Verdict(failure[1], "Timeout" in (failure[2] or ""), time.monotonic() - began)

    def _python(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._env,
            cwd=self._tree,
            start_new_session=True,
        )

    def _write(self, file: Path, content: str) -> None:
        file.write_text(content)
        # Python tells compiled files apart by size and whole seconds alone
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()


def judge_all(
    defects: Sequence[Defect], edits: Sequence[Edit], copies: Sequence[Copy]
) -> list[Verdict]:
    """Return the verdict on each defect. Raises `Misplaced` as `Copy.run`."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def judge(defect: Defect, edit: Edit) -> Verdict:
        copy = free.get()
        try:
            verdict = copy.judge(defect, edit)
        finally:
            free.put(copy)
        _print(f"{verdict.seconds:6.1f} s  {defect.title}: {verdict}")
        return verdict

    with ThreadPoolExecutor(len(copies)) as pool:
        return list(pool.map(judge, defects, edits))


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("-j", type=int, default=1, metavar="N", help="work in N copies at once")
    parser.add_argument("-k", default="", metavar="REGEX", help="only those that REGEX finds")
    parser.add_argument("--list", action="store_true", help="list them; see that they are found")
    options = parser.parse_args()
    defects = [d for d in list_defects() if re.search(options.k, str(d), re.IGNORECASE)]
    if not defects:
        parser.error(f"no defect is found by -k {options.k!r}")
    edits, errors = _edits_of(defects)
    if options.list:
        for each in defects:
            _print(f"{each.title:<72} {each.where:<40} {' '.join(each.tests)}")
    for error in errors:
        _print(error)
    if errors or options.list:
        _print(f"{len(defects)} defects, {len(errors)} cannot be planted")
        return 2 if errors else 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        try:
            copies = [Copy(TREE, Path(folder).resolve() / str(n)) for n in range(options.j)]
            began = time.monotonic()
            verdicts = judge_all(defects, edits, copies)
            _check(verdicts, copies[0])
            return _print_report(defects, verdicts, time.monotonic() - began)
        except Misplaced as error:
            _print(str(error))
            return 2


def _edits_of(defects: Sequence[Defect]) -> tuple[list[Edit], list[str]]:
    """Return the edits that plant defects, and why others cannot be planted."""
    among, edits, errors = places(), [], []
    for defect in defects:
        try:
            edits.append(edit_of(defect, among))
        except Misplaced as error:
            errors.append(f"{defect.title}: {error}")
    return edits, errors


def _check(verdicts: Sequence[Verdict], copy: Copy) -> None:
    """See that the tests that failed do not fail without a defect as well.

    All tests of all defects would take longer than the rest.

    Raises:
        Misplaced: one does.
    """
    verdict = copy.run(sorted({v.killer.partition("[")[0] for v in verdicts if v.killer}))
    if verdict.killer or verdict.hung:
        raise Misplaced(f"without any defect as well: {verdict}")


def _print_report(defects: Sequence[Defect], verdicts: Sequence[Verdict], seconds: float) -> int:
    """Write the table and the summary; return the exit code."""
    wide = max((len(defect.title) for defect in defects), default=0)
    _print(f"\n{'DEFECT':<{wide}}  {'WHERE':<40} SECONDS  KILLED BY")
    survivors = []
    for defect, verdict in zip(defects, verdicts, strict=True):
        _print(f"{defect.title:<{wide}}  {defect.where:<40} {verdict.seconds:7.1f}  {verdict}")
        if not (verdict.killer or verdict.hung):
            survivors.append(defect)
    for survivor in survivors:
        _print(f"survived: {survivor.title}: {survivor.reason or 'NO TEST NOTICES IT'}")
    killed = len(defects) - len(survivors)
    _print(f"{killed} of {len(defects)} defects were noticed, in {seconds / 60:.1f} min")
    all_explained = all(survivor.reason for survivor in survivors)
    return 0 if all_explained and len(survivors) <= MOST_SURVIVORS else 1


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
