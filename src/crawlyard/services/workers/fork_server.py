"""Fork server: a warm process that forks the children of isolated jobs.

A fork takes some 20 ms, a new interpreter 1.4 to 1.8 s of processor time for its imports alone.
The server has imported everything and runs nothing: there is no thread, event loop, connection or
lock that a fork would copy, and no generator of ids that would make the same ids in two forks.
"""

import asyncio
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from struct import Struct as Packing
from typing import NoReturn

from msgspec import Struct

from crawlyard.about import VERSION
from crawlyard.engine.render.process import ProcessUsage, measure, memory_share

EXIT_UNAVAILABLE = os.EX_TEMPFAIL
"""Exit code of a child whose store or server was unavailable; its job is not to blame."""

EXIT_OTHER_VERSION = os.EX_CONFIG
"""Exit code of a server whose version differs from that of the process that started it."""

_FRAME = Packing("!ii")  # the pid of a child, and its exit code
_JUST_FORKED = 1 << 16  # instead of an exit code: it has just been forked
_START_TIMEOUT_S = 60.0  # on a busy machine, the imports take many seconds


class Fork(Struct):
    """A forked process."""

    pid: int
    exit_code: asyncio.Future[int]  # set when it has ended
    usage: ProcessUsage = ProcessUsage()  # in its last report

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        if not self.exit_code.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """Handle of the server, which starts with the first fork and ends with this process.

    Its forks end with it. *module* is the program that calls `serve_forks`; it must be of this
    *version*, as both ends of a channel must run the same code.
    """

    def __init__(self, module: str, version: str = VERSION) -> None:
        self.outdated = False
        """True if another version was installed after this process had started."""

        self._module = module
        self._version = version
        self._lock = asyncio.Lock()
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._next_pid: asyncio.Future[int] | None = None  # of the fork that was requested last
        self._forks: dict[int, Fork] = {}

    async def fork(self, connection: socket.socket) -> Fork:
        """Fork a process that gets *connection*, which is closed here.

        Raises:
            OSError: the server cannot be started, or did not answer.
        """
        with connection:
            async with self._lock, asyncio.timeout(_START_TIMEOUT_S):
                control = self._control or await self._start()
                self._next_pid = asyncio.get_running_loop().create_future()
                socket.send_fds(control, [b"."], [connection.fileno()])
                try:
                    pid = await self._next_pid
                except BaseException:
                    self._kill()  # it hangs: the next fork gets a new one
                    raise
                return self._forks[pid]

    def usage(self) -> ProcessUsage:
        """Return what the server and its forks have used; memory that they share counts once."""
        cpu_s = sum(fork.usage.cpu_s for fork in self._forks.values())
        memory = sum(fork.usage.rss_bytes for fork in self._forks.values())
        if self._control is not None and self._process is not None:
            server = usage_of(self._process.pid)  # with its forks that have ended
            cpu_s, memory = cpu_s + server.cpu_s, memory + server.rss_bytes
        return ProcessUsage(cpu_s=cpu_s, rss_bytes=memory)

    async def close(self) -> None:
        """End the server and its forks."""
        self._kill()
        if self._reader is not None:
            await self._reader

    async def _start(self) -> socket.socket:
        control, server_end = socket.socketpair()
        with server_end:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module, str(server_end.fileno()), self._version),
                pass_fds=(server_end.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal reaches only this process
            )
        control.settimeout(0)
        self._control = control
        self._reader = asyncio.create_task(self._read(control, self._process))
        return control

    async def _read(self, control: socket.socket, process: asyncio.subprocess.Process) -> None:
        """Read the messages about forks until the server ends."""
        loop, unread = asyncio.get_running_loop(), b""
        with control, suppress(ConnectionError):
            while data := await loop.sock_recv(control, 4096):
                unread += data
                while len(unread) >= _FRAME.size:
                    pid, code = _FRAME.unpack_from(unread)
                    unread = unread[_FRAME.size :]
                    self._handle_message(pid, code)
        self._control = None
        requested = self._next_pid
        for pid in list(self._forks):
            self._forks[pid].kill()
            self._handle_message(pid, EXIT_UNAVAILABLE)
        self.outdated = await process.wait() == EXIT_OTHER_VERSION
        if requested is not None and not requested.done():
            requested.set_exception(ConnectionError("the fork server has ended"))

    def _handle_message(self, pid: int, code: int) -> None:
        if code != _JUST_FORKED:
            self._forks.pop(pid).exit_code.set_result(code)
            return
        self._forks[pid] = Fork(pid, asyncio.get_running_loop().create_future())
        if self._next_pid is not None and not self._next_pid.done():
            self._next_pid.set_result(pid)

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


def usage_of(pid: int) -> ProcessUsage:
    """Return the CPU time and memory of a process, with its share of common memory."""
    usage = measure(pid, forks=False)
    return ProcessUsage(cpu_s=usage.cpu_s, rss_bytes=memory_share(pid) or usage.rss_bytes)


def serve_forks(control: socket.socket) -> socket.socket:
    """Fork a process for each request on *control*; return, in that process, its connection.

    The server itself ends when *control* does, and kills its forks.
    """
    pids = set[int]()
    signals, wakeup = socket.socketpair()
    signals.settimeout(0)
    wakeup.settimeout(0)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    while True:
        ready = select.select([control, signals], [], [])[0]
        if signals in ready:
            signals.recv(4096)
            _report_exits(control, pids)
        if control in ready:
            message, descriptors = _receive_request(control)
            if not message:
                _kill_and_exit(pids)
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for inherited in (control, signals, wakeup):
                    inherited.close()
                return socket.socket(fileno=descriptors[0])
            pids.add(pid)
            os.close(descriptors[0])
            with suppress(ConnectionError):
                control.sendall(_FRAME.pack(pid, _JUST_FORKED))


def _receive_request(control: socket.socket) -> tuple[bytes, list[int]]:
    try:
        return socket.recv_fds(control, 1, 1)[:2]
    except ConnectionError:
        return b"", []


def _report_exits(control: socket.socket, pids: set[int]) -> None:
    while pids:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        pids.discard(pid)
        with suppress(ConnectionError):
            control.sendall(_FRAME.pack(pid, os.waitstatus_to_exitcode(status)))


def _kill_and_exit(pids: Iterable[int]) -> NoReturn:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)
