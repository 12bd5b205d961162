"""Template drafts, from a file, an editor, or an existing template."""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crawlyard.cli.stdin_args import STDIN
from crawlyard.core.templates.template import FileFormat, TemplateDraft
from crawlyard.errors import Invalid
from crawlyard.services.templates.files import check_draft, format_draft, read

if TYPE_CHECKING:
    from crawlyard.cli.session import Session

_SUFFIXES: Mapping[str, FileFormat] = {".json": FileFormat.JSON}


async def export_draft(session: "Session", ref: str, version: int | None = None) -> TemplateDraft:
    """Return a template as a file, with credentials if the user may change it."""
    form = FileFormat.JSON
    text = await session.surface.templates.export(ref, format_=form, version=version)
    return read(text.encode(), f"template {ref}")


def draft_from(file: str) -> TemplateDraft:
    """Return the template in *file*, checked; ``-`` is stdin.

    Raises:
        Invalid: it cannot be read, or is not a valid template.
    """
    if file == STDIN:
        draft = read(sys.stdin.buffer.read(), "stdin")
    else:
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            raise Invalid(file, f"cannot be read: {error.strerror}") from error
        draft = read(data, file)
    check_draft(draft)
    return draft


def format_for(file: str, file_format: FileFormat | None) -> FileFormat:
    """Return *file_format* if it is given, else that of the suffix of *file*, else YAML."""
    return file_format or _SUFFIXES.get(Path(file).suffix.lower(), FileFormat.YAML)


@contextlib.contextmanager
def edit_draft(draft: TemplateDraft) -> Iterator[TemplateDraft]:
    """Yield *draft* as edited by the user, in the editor named by $VISUAL or $EDITOR.

    Only the user may read the file: it may contain credentials. It is deleted if the block
    succeeds. If the block fails, a changed file is kept, and stderr names it.

    Raises:
        Invalid: there is no editor, it failed, or the file is not a template afterwards.
    """
    editor = _editor()
    handle, name = tempfile.mkstemp(prefix="crawlyard-", suffix=".yaml")
    file = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        opened.write(format_draft(draft, FileFormat.YAML))
    before = file.read_bytes()
    try:
        _run([*editor, name])
        yield draft_from(name)
    except BaseException:
        if file.exists() and file.read_bytes() != before:
            sys.stderr.write(f"your changes are kept in {name}\n")
        else:
            file.unlink(missing_ok=True)
        raise
    file.unlink(missing_ok=True)


def _editor() -> list[str]:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Invalid("$EDITOR", f"expected a command, got {command!r}: {error}") from None
    if not words:
        raise Invalid("--file", "no $EDITOR is set; set it, or say what to change by an option")
    return words


def _run(words: Sequence[str]) -> None:
    try:
        code = subprocess.run(words, check=False).returncode  # noqa: S603 - the user's own editor
    except OSError as error:
        raise Invalid("$EDITOR", f"{words[0]} cannot be run: {error.strerror}") from error
    if code:
        raise Invalid("$EDITOR", f"{words[0]} ended with {code}; nothing was changed")
