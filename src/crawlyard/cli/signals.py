"""Ctrl-C and other signals: the first stops gracefully, the second at once."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_S = 0.5
"""Wrappers such as `timeout` or a task runner forward a signal that we got as well:
a signal so soon after the first is the same one."""


class Interrupts:
    """Signals received so far; commands sleep in `wait`."""

    def __init__(
        self, last_act: Callable[[], None], began: Callable[[], object] = lambda: None
    ) -> None:
        self._awake = asyncio.Event()
        self._began = began
        self._first: signal.Signals | None = None
        self._last_act = last_act
        self._first_at = 0.0

    @property
    def first(self) -> signal.Signals | None:
        """The first signal; ``None`` if there was none."""
        return self._first

    @property
    def exit_code(self) -> int:
        """Exit code that shells expect of a process ended by a signal: 130 for Ctrl-C."""
        return 128 + (self._first or signal.SIGINT)

    async def wait(self, seconds: float) -> None:
        """Return after *seconds*, or at once after a signal or a nudge."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        self._awake.clear()

    def nudge(self) -> None:
        """End the current wait, or the next one."""
        self._awake.set()

    def receive(self, received: signal.Signals) -> None:
        """Record a signal; the second ends the process."""
        now = asyncio.get_running_loop().time()
        if self._first is None:
            self._first, self._first_at = received, now
            self._awake.set()
            self._began()
        elif now - self._first_at > _SAME_S:
            self._last_act()
            os._exit(128 + received)  # no clean-up: what is stored is safe at any instant


@contextlib.contextmanager
def interrupts(
    last_act: Callable[[], None], began: Callable[[], object] = lambda: None
) -> Iterator[Interrupts]:
    """Catch Ctrl-C, SIGTERM and SIGHUP for the block; *last_act* runs before an abrupt end.

    *began* is called at the first signal.

    A signal that is ignored (``nohup``, a job in the background) stays ignored.
    """
    loop = asyncio.get_running_loop()
    caught = [s for s in _CAUGHT if signal.getsignal(s) is not signal.SIG_IGN]
    received = Interrupts(last_act, began)
    for each in caught:
        loop.add_signal_handler(each, received.receive, each)
    try:
        yield received
    finally:
        for each in caught:
            loop.remove_signal_handler(each)
            if received.first is not None:
                # a command that is exiting has nothing left to stop gracefully
                signal.signal(each, _quit)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C within the block, which would otherwise end the process."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _quit(received: int, _frame: FrameType | None) -> None:
    os._exit(128 + received)
