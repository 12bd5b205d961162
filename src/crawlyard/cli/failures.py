"""Errors as messages and exit codes: one table for all commands."""

from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.render.words import printable
from crawlyard.errors import (
    Conflict,
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
)

EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (Invalid, 2),
    (NotFound, 3),
    (Forbidden, 4),
    (Unauthenticated, 4),
    (IllegalMove, 5),
    (Conflict, 5),
    (Unavailable, 6),
    (RateLimited, 7),
    (QuotaExceeded, 5),
)
"""Exit codes; the first match applies, others are 1. 10 to 13 tell how a job or check ended."""

MIXED = 1
"""Exit code if several items failed for different reasons."""

DECLINED = 8
"""Exit code if the user declined a question."""

_VERBS = {
    "pause": "pause",
    "resume": "resume",
    "cancel": "cancel",
    "retry_failed": "retry --failed",
    "retry_now": "retry --now",
    "retry": "retry",
    "edit": "set",
}
"""Moves that a user can make, by command; a server names actions instead."""


def exit_code_of(error: Exception) -> int:
    """Return the code for *error* that shell scripts can rely on."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def failure_lines(error: Exception, about: str = "") -> list[str]:
    """Return the lines about *error* for users; *about* is its subject if it names none."""
    if isinstance(error, Invalid) and len(error.faults) > 1:
        return [line for fault in error.faults for line in failure_lines(fault, about)]
    if isinstance(error, OSError) and error.filename is not None:
        message = f"cannot write {error.filename}: {error.strerror}"
    elif isinstance(error, (CrawlyardError, OSError)):
        message = with_commands(str(error)) or type(error).__name__
    else:
        message = f"{type(error).__name__}: {error} (a bug in crawlyard; --debug shows where)"
    lines = [f"error: {about}: {message}" if about else f"error: {message}"]
    if isinstance(error, IllegalMove):
        waits = "pause" in error.allowed  # then the server's "retry" ends a wait
        moves = ["retry_now" if waits and m == "retry" else m for m in error.allowed]
        verbs = [_VERBS[move] for move in moves if move in _VERBS]
        if verbs:
            lines.append(f"  you can: {', '.join(verbs)}")
    return [printable(line) for line in lines]
