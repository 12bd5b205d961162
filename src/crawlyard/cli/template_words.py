"""Templates from files, from an editor, and back to files."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from crawlyard.cli.seeds import STDIN
from crawlyard.core.template import FileFormat, TemplateDraft
from crawlyard.errors import Invalid
from crawlyard.services.template_files import read, written
from crawlyard.services.templates import check_draft

_SUFFIXES: Mapping[str, FileFormat] = {".json": FileFormat.JSON}


def draft_from(file: str) -> TemplateDraft:
    """Return the template that *file* holds, checked; ``-`` is stdin.

    Raises:
        Invalid: it cannot be read, or something in it is not what is expected.
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


def format_for(file: str, asked: FileFormat | None) -> FileFormat:
    """Return the format *asked* for, or that the name of *file* tells: YAML, if not."""
    return asked or _SUFFIXES.get(Path(file).suffix.lower(), FileFormat.YAML)


def edited(draft: TemplateDraft) -> TemplateDraft:
    """Return what the user makes of *draft* in the editor that $VISUAL or $EDITOR names.

    The file is nobody else's to read: there may be credentials in it.

    Raises:
        Invalid: there is no editor, it failed, or what it left is no template; the
            message names the file, which is kept then.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise Invalid("--file", "no $EDITOR is set; set it, or say what to change by an option")
    handle, name = tempfile.mkstemp(prefix="crawlyard-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(written(draft, FileFormat.YAML))
    words = [*shlex.split(editor), name]
    try:
        code = subprocess.run(words, check=False).returncode  # noqa: S603 - the user's own editor
    except OSError as error:
        Path(name).unlink()
        raise Invalid("$EDITOR", f"{words[0]} cannot be run: {error.strerror}") from error
    if code:
        Path(name).unlink()
        raise Invalid("$EDITOR", f"{words[0]} ended with {code}; nothing was changed")
    try:
        changed = draft_from(name)
    except Invalid as error:
        raise Invalid(error.field, f"{_said(error)}; what you wrote is kept in {name}") from None
    Path(name).unlink()
    return changed


def _said(error: Invalid) -> str:
    return str(error).removeprefix(f"{error.field}: ")
