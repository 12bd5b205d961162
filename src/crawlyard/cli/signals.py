"""Ctrl-C and other signals: the first stops gracefully, the second at once."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DUPLICATE_WITHIN_S = 0.5
"""Wrappers such as `timeout` or a task runner forward a signal that we got as well:
a signal so soon after the first is the same one."""


class Interrupts:
    """Signals received so far; commands sleep in `wait`.

    *on_first* is called at the first signal, *before_exit* before the second ends the process.
    """

    def __init__(
        self, before_exit: Callable[[], None], on_first: Callable[[], object] = lambda: None
    ) -> None:
        self._wake = asyncio.Event()
        self._on_first = on_first
        self._first: signal.Signals | None = None
        self._before_exit = before_exit
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
                await self._wake.wait()
        self._wake.clear()

    def nudge(self) -> None:
        """End the current wait, or the next one."""
        self._wake.set()

    def receive(self, signal_number: signal.Signals) -> None:
        """Record a signal; the second ends the process."""
        now = asyncio.get_running_loop().time()
        if self._first is None:
            self._first, self._first_at = signal_number, now
            self._wake.set()
            self._on_first()
        elif now - self._first_at > _DUPLICATE_WITHIN_S:
            self._before_exit()
            os._exit(128 + signal_number)  # no clean-up: what is stored is safe at any instant


@contextlib.contextmanager
def catch_interrupts(
    before_exit: Callable[[], None], on_first: Callable[[], object] = lambda: None
) -> Iterator[Interrupts]:
    """Catch Ctrl-C, SIGTERM and SIGHUP within the block, and yield those received.

    *on_first* is called at the first signal, *before_exit* before the second ends the process.

    A signal that is ignored (``nohup``, a job in the background) stays ignored.
    """
    loop = asyncio.get_running_loop()
    caught_signals = [
        number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    ]
    interrupts = Interrupts(before_exit, on_first)
    for number in caught_signals:
        loop.add_signal_handler(number, interrupts.receive, number)
    try:
        yield interrupts
    finally:
        for number in caught_signals:
            loop.remove_signal_handler(number)
            if interrupts.first is not None:
                # a command that is exiting has nothing left to stop gracefully
                signal.signal(number, _quit)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C within the block, instead of ending the process."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _quit(signal_number: int, _frame: FrameType | None) -> None:
    os._exit(128 + signal_number)
