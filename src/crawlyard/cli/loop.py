"""The event loop that a command runs in, its exit code, and its errors."""

import contextlib
import gc
import traceback
from collections.abc import Iterator
from typing import Any

import typer

from crawlyard.cli import LOOKS
from crawlyard.cli.signals import interruptible
from crawlyard.cli.stdout import whole_stdout

try:
    from uvloop import run as run_loop
except ImportError:  # where it has no build, asyncio's own loop does as well
    from asyncio import run as run_loop  # type: ignore[assignment]  # called alike here


def finish(work: Any) -> None:
    """Run what a command does to its end, and leave with its exit code."""
    code = 0  # also where whoever read stdout has gone
    with whole_stdout():
        code = run_loop(work) or 0
    raise typer.Exit(code)


def loaded() -> None:
    """Leave what is loaded by now out of the search for cycles, which begins here."""
    gc.freeze()
    gc.set_threshold(*LOOKS)


@contextlib.contextmanager
def traced(*, debug: bool) -> Iterator[None]:
    """Show the traceback of an error where one is asked for, and unwrap what a task group made."""
    try:
        with interruptible():
            yield
    except typer.Exit:
        raise
    except BaseExceptionGroup as group:
        if debug:
            traceback.print_exc()
        raise _first(group) from None
    except Exception:
        if debug:
            traceback.print_exc()
        raise


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
