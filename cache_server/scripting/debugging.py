"""Sessions of the debugger: SCRIPT DEBUG YES or SYNC, then EVAL.

    SYNC  the server stops with the script and serves nobody else; what the script changes stays
    YES   the session is a child process with the client's socket and the data as they are now: the
          server goes on without this client, and what the script changes ends with the child

A script is debugged in an interpreter of its own, so that the one of EVAL knows nothing of it. This
is the only place where the server forks. A child never returns to the event loop.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cache_server.client import IN_EXEC
from cache_server.errors import CommandError
from cache_server.scripting.debugger import Debugger
from cache_server.wire.replies import NO_REPLY

log = logging.getLogger("cache_server")

RECEIVE_BYTES = 1 << 16
SEND_TIMEOUT_MS = 5000
SIGNAL_POLL_MS = 200

#: The number of keys in the arguments of an EVAL, or CommandError.
KeyCount = Callable[[list[bytes]], int]


class SocketWire:
    """The client's socket, used directly while the event loop waits for the script."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._gone = False
        #: A signal has come that ends the server.
        self.signalled = False

    def send(self, data: bytes) -> None:
        """Sends all of it; who does not take it for SEND_TIMEOUT_MS is gone."""
        self._poll.register(self._fd, select.POLLOUT)
        try:
            while data and not self._gone:
                if not self._poll.poll(SEND_TIMEOUT_MS):
                    self._gone = True
                    break
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._gone = True

    def receive(self) -> bytes:
        """What has come; empty when the client is gone or the server is told to end."""
        self._poll.register(self._fd, select.POLLIN)
        try:
            while not self._gone:
                if self._poll.poll(SIGNAL_POLL_MS):
                    return os.read(self._fd, RECEIVE_BYTES)
                self._gone = self.signalled
        except OSError:
            self._gone = True
        return b""


class DebugSessions:
    """Who debugs, and the children in which they do. `scripting` is the server's Scripting."""

    def __init__(self, scripting: Any) -> None:
        self._scripting = scripting
        self._children: set[int] = set()
        #: Client id -> "yes" or "sync".
        self.modes: dict[int, str] = {}

    def choose(self, ctx: Any, mode: str) -> None:
        """SCRIPT DEBUG by a client."""
        living = self._scripting.server.clients
        self.modes = {key: each for key, each in self.modes.items() if key in living}
        if mode == "no":
            self.modes.pop(ctx.id, None)
        elif ctx.channel is None or ctx.channel.fd < 0:
            raise CommandError(b"ERR The debugger needs a connection without TLS")
        else:
            self.modes[ctx.id] = mode

    def mode(self, ctx: Any) -> str | None:
        """How the client debugs, if it does."""
        return self.modes.get(ctx.id)

    def eval(self, ctx: Any, args: list[bytes], read_only: bool, count: KeyCount) -> Any:
        """EVAL of a client that debugs. Raises CommandError."""
        if ctx.flags & IN_EXEC:
            raise CommandError(b"ERR EVAL can't be debugged inside a transaction")
        mode = self.modes.pop(ctx.id)
        ctx.connection.close_after_reply()
        if mode == "sync":
            log.warning("Redis synchronous debugging eval session started")
            wire = SocketWire(ctx.channel.fd)
            try:
                with _noticing_signals(wire):
                    return self._session(wire, ctx, args, read_only, count)
            finally:
                log.warning("Redis synchronous debugging eval session ended")
        return self._in_child(ctx, args, read_only, count)

    def reap(self) -> None:
        """Lets go of the children that have ended."""
        for pid in list(self._children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._children.discard(pid)

    def end_all(self) -> None:
        """Ends all children."""
        for pid in self._children:
            log.warning("Killing debugging session %d", pid)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._children.clear()

    # -- parts ---------------------------------------------------------------------------------

    def _session(
        self, wire: SocketWire, ctx: Any, args: list[bytes], read_only: bool, count: KeyCount
    ) -> Any:
        """Runs the script under a debugger; its reply. Raises CommandError."""
        threshold_ms = self._scripting.server.config.busy_reply_threshold
        debugger = Debugger(wire, args[1], threshold_ms)
        try:
            return self._scripting.run_debugged(ctx, args, count(args), read_only, debugger)
        finally:
            debugger.say(b"<endsession>")
            debugger.flush()

    def _in_child(self, ctx: Any, args: list[bytes], read_only: bool, count: KeyCount) -> Any:
        stats = self._scripting.server.stats
        began_ns = time.monotonic_ns()
        try:
            with warnings.catch_warnings():  # that other threads do not live on in the child
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:
            text = f"ERR Fork() failed: can't run EVAL in debugging mode: {error.strerror}"
            raise CommandError(text.encode()) from None
        if pid == 0:
            try:
                self._be_child(ctx, args, read_only, count)
            finally:
                os._exit(0)
        stats.forks += 1
        stats.latest_fork_us = (time.monotonic_ns() - began_ns) // 1000
        log.warning("Redis forked for debugging eval: process %d", pid)
        self._children.add(pid)
        return NO_REPLY

    def _be_child(self, ctx: Any, args: list[bytes], read_only: bool, count: KeyCount) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(ctx.channel.fd)
        wire = SocketWire(ctx.channel.fd)
        writer = ctx.channel.writer
        try:
            writer.write(self._session(wire, ctx, args, read_only, count))
        except CommandError as error:
            writer.write_error(error.text)
        wire.send(writer.take())


@contextmanager
def _noticing_signals(wire: SocketWire) -> Iterator[None]:
    """A signal that ends the server ends the session; the loop hears of it afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def notice(_number: int, _frame: Any) -> None:
        wire.signalled = True

    before = {each: signal.signal(each, notice) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _close_all_but(client_fd: int) -> None:
    """Closes what a child does not need: while it held them, ports would stay taken and the
    connections of others open. The log stays."""
    keep = {0, 1, 2, client_fd}
    for handler in (*log.handlers, *logging.getLogger().handlers):
        with suppress(AttributeError, OSError, ValueError):  # it writes to no file
            keep.add(handler.stream.fileno())  # type: ignore[attr-defined]
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with suppress(OSError):  # the folder that was listed
                os.close(int(name))
