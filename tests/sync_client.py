"""The client without `async`, made of the one with: ``python -m tests.sync_client`` writes it.

Token by token, so that strings and comments stay as they are but for the few words of
their own. What it makes is formatted as the tree is, and a test compares it.
"""

import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "src" / "crawlyard" / "client"
SOURCE, MADE = CLIENT / "asynchronous", CLIENT / "synchronous"

NAMES = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncGenerator": "Generator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
    "asynchronous": "synchronous",
    "asyncio": "time",
}
"""What is called otherwise without a loop."""

GONE = frozenset({"async", "await"})

_HEAD = "# made of asynchronous/{name} by `python -m tests.sync_client`; a test compares it\n"
_DOCSTRING = '"""The client without `async`, made of `asynchronous`."""\n'


_OURS = ("--config", 'lint.isort.known-first-party=["crawlyard"]')  # it may not be there yet


def made() -> dict[str, str]:
    """Return the modules without `async`, by the names of their files."""
    texts = {file.name: _made(file) for file in sorted(SOURCE.glob("*.py"))}
    texts["__init__.py"] = _DOCSTRING
    return texts


def converted(text: str) -> str:
    """Return the same program without `async`."""
    lines = text.splitlines(keepends=True)
    for row, column, old, new in reversed(list(_changes(text))):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + new + line[column + len(old) :]
    return "".join(lines)


def _changes(text: str) -> Iterator[tuple[int, int, str, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.NAME:
            continue
        row, column = token.start
        if token.string in GONE:
            yield row, column, f"{token.string} ", ""
        elif token.string in NAMES:
            yield row, column, token.string, NAMES[token.string]


def _made(file: Path) -> str:
    text = _HEAD.format(name=file.name) + converted(file.read_text("utf-8"))
    text = _ruff("check", *_OURS, "--select", "I", "--fix-only", "--silent", text=text)
    return _ruff("format", text=text)


def _ruff(*words: str, text: str) -> str:
    command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(MADE / "x.py"), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def main() -> None:
    MADE.mkdir(exist_ok=True)
    for name, text in made().items():
        (MADE / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
