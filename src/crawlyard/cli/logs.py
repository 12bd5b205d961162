"""Log lines of all modules, on stderr, beside the progress."""

import contextlib
import logging
import sys

import structlog

from crawlyard.cli.words import printable_lines
from crawlyard.errors import Invalid

_LEVELS = ("debug", "info", "warning", "error")


class _Stderr(logging.Handler):
    """Writes to what stderr is at the moment: the live display puts itself before it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a stderr that is gone is nobody to tell."""
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{printable_lines(self.format(record))}\n")


def log_to_stderr(level: str) -> None:
    """Send what structlog and logging are told to stderr, from *level* on.

    Raises:
        Invalid: there is no level of that name.
    """
    if level.lower() not in _LEVELS:
        raise Invalid("log_level", f"expected one of {', '.join(_LEVELS)}, got {level!r}")
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.LogfmtRenderer(
                    key_order=["timestamp", "level", "event"], drop_missing=True
                ),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
