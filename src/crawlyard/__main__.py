"""The command ``crawlyard``, which is ``python -m crawlyard`` as well."""

# The built-in module, as `signal` takes 3 ms to load, in which Ctrl-C would print a traceback.
import _signal  # type: ignore[import-not-found]

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    # While modules load, Ctrl-C ends the process at once and without a traceback;
    # `cli.signals.interruptible` raises KeyboardInterrupt where there is something to tidy up.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from crawlyard.cli.main import main

_codes: list[int] = []


def run(command: Callable[[], None] = main) -> None:
    """Run *command* with `sys.argv`, and exit with its code.

    After threads have ended and exit handlers have run, the process exits without Python's own
    shutdown, which takes 0.03 s of CPU: a fifteenth of a crawl of one page.
    """
    atexit.register(_leave)  # handlers run in reverse order, so this one is the last
    try:
        command()
    except SystemExit as end:
        if isinstance(end.code, int):
            _codes.append(end.code)
        raise


def _leave() -> None:
    for code in _codes:  # empty after an error, which Python reports
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


if __name__ == "__main__":
    run()
