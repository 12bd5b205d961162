"""Log lines of all modules, on stderr, beside the progress."""

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from crawlyard.cli.render.words import printable_lines
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import log_lines
else:
    log_lines = lazily("crawlyard.cli.log_lines")

_OURS = __name__.partition(".")[0]
_LEVELS = ("debug", "info", "warning", "error")


class _Stderr(logging.Handler):
    """Writes to what stderr is at the moment: the live display puts itself before it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a stderr that is gone is nobody to tell."""
        if self.formatter is None:
            self.formatter = log_lines.formatter()
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{printable_lines(self.format(record))}\n")


def log_to_stderr(level: str) -> None:
    """Send what logging is told to stderr, from *level* on.

    Libraries are heard from warnings on: what they do is of no interest before "debug".

    Raises:
        Invalid: there is no level of that name.
    """
    if level.lower() not in _LEVELS:
        raise Invalid("log_level", f"expected one of {', '.join(_LEVELS)}, got {level!r}")
    root = logging.getLogger()
    root.handlers[:] = [_Stderr()]
    ours = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(ours if ours == logging.DEBUG else max(ours, logging.WARNING))
    logging.getLogger(_OURS).setLevel(ours)
