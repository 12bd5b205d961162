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
except ImportError:  # without a build for this platform, asyncio's own loop works as well
    from asyncio import run as run_loop  # type: ignore[assignment]  # same signature


def finish(work: Any) -> None:
    """Run a command to its end, and exit with its code."""
    code = 0  # also if the reader of stdout has closed it
    with whole_stdout():
        code = run_loop(work) or 0
    raise typer.Exit(code)


def freeze_objects() -> None:
    """Exclude the objects loaded so far from garbage collection, which starts here."""
    gc.freeze()
    gc.set_threshold(*LOOKS)


@contextlib.contextmanager
def show_tracebacks(*, debug: bool) -> Iterator[None]:
    """Show the traceback of an error if requested, and unwrap errors of task groups."""
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
