"""Log lines of all modules, on stderr, beside the progress."""

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from crawlyard.cli.render.words import printable_lines
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    import structlog
else:  # loaded when there is something to say
    structlog = lazily("structlog")

_OURS = __name__.partition(".")[0]
_LEVELS = ("debug", "info", "warning", "error")


class _Stderr(logging.Handler):
    """Writes to what stderr is at the moment: the live display puts itself before it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a stderr that is gone is nobody to tell."""
        if self.formatter is None:
            self.formatter = _formatter()
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


def _formatter() -> logging.Formatter:
    """Return what makes a line of a record: ``timestamp=… level=… event=…``."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.LogfmtRenderer(
                key_order=["timestamp", "level", "event"], drop_missing=True
            ),
        ],
    )
