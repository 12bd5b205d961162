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
        code = result_of(work) or 0
    raise typer.Exit(code)


def result_of(work: Any) -> Any:
    """Run a coroutine as commands run theirs, and return what it returns."""
    gc.freeze()  # what was imported stays
    gc.set_threshold(*LOOKS)
    return run_loop(work)


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
