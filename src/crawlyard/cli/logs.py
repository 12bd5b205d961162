"""Log lines of all modules, on stderr, above the progress display."""

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from crawlyard.cli.render.words import printable_lines
from crawlyard.config import LogFormat
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

# loaded when there is something to log
with lazily():
    import structlog
if TYPE_CHECKING:
    from structlog.typing import Processor

_OURS = __name__.partition(".")[0]
_LEVELS = ("debug", "info", "warning", "error")


class _Stderr(logging.Handler):
    """Writes to the current stderr: the live display replaces it."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; errors of a closed stderr are ignored."""
        if self.formatter is None:
            self.formatter = _formatter(self._form)
        line = self.format(record)
        if self._form is not LogFormat.JSON:  # JSON is ASCII already, and has its own escapes
            line = printable_lines(line)
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{line}\n")


def log_to_stderr(level: str, form: LogFormat = LogFormat.LOGFMT) -> None:
    """Send log records from *level* on to stderr, in the format *form*.

    Libraries log warnings and errors only, unless the level is "debug".

    Raises:
        Invalid: there is no level of that name.
    """
    if level.lower() not in _LEVELS:
        raise Invalid("log_level", f"expected one of {', '.join(_LEVELS)}, got {level!r}")
    root = logging.getLogger()
    root.handlers[:] = [_Stderr(form)]
    ours = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(ours if ours == logging.DEBUG else max(ours, logging.WARNING))
    logging.getLogger(_OURS).setLevel(ours)


def _formatter(form: LogFormat) -> logging.Formatter:
    """Return the formatter of lines: ``timestamp=… level=… event=…``, or a JSON object."""
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form is LogFormat.JSON
        else structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "event"], drop_missing=True
        )
    )
    named = (structlog.stdlib.add_logger_name,) if form is LogFormat.JSON else ()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            *named,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            renderer,
        ],
    )
