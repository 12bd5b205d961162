"""Traces of the calls of our own functions."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import crawlyard

SRC = str(Path(crawlyard.__file__).parent) + "/"


class Trace:
    """Counts the calls of our functions, by ``FILE:FUNCTION``."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count a call; see `sys.setprofile`."""
        del arg
        name = name_of(frame.f_code)
        if event == "call" and name:
            self.calls[name] += 1
            self.enter(frame, name)

    def enter(self, frame: FrameType, name: str) -> None:
        """Note more about a call, in a subclass."""

    def files(self, calls: int = 1) -> set[str]:
        """Return the files that have a function called so often."""
        return {name.partition(":")[0] for name, count in self.calls.items() if count >= calls}


def name_of(code: CodeType) -> str:
    """Return the name of one of our functions, "" for any other."""
    file = code.co_filename
    return f"{file.removeprefix(SRC)}:{code.co_qualname}" if file.startswith(SRC) else ""


@contextmanager
def traced(trace: Trace) -> Iterator[None]:
    """Trace the calls in this thread, for the block."""
    sys.setprofile(trace)
    try:
        yield
    finally:
        sys.setprofile(None)
