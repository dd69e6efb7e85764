"""Serving others while a script runs too long.

There is one thread, and it is inside the script. The interpreter calls back every 100,000
instructions; from the busy threshold on, each of these calls looks at the sockets once, without
waiting, and lets every client that sent something have its pass: most hear BUSY, SCRIPT KILL and
SHUTDOWN NOSAVE are carried out.

The loop cannot be run from within one of its callbacks, so the sockets are read here, past their
transports. Nothing is lost by that: whoever is read here is idle in the loop, and what is read goes
the way of all input, `Channel.data_received`. A client whose input has ended is closed, and a
follower counts no longer. Who connects meanwhile is accepted here, served over the bare socket, and
handed to the loop after the script.

Invariants: the client whose script runs is not read from; the loop is not entered.

See docs/decisions/0002-a-busy-script-serves-others.md.
"""

from __future__ import annotations

import select
import socket
from typing import Any

from cache_server import client as states
from cache_server.connection import Connection

READ_BYTES = 64 * 1024
ACCEPTS_MAX = 16
_NEVER_READ = states.CLOSED | states.CLOSE_AFTER_REPLY


class BareTransport:
    """A transport of a connection that the loop does not know yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.unsent = bytearray()
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return self.sock
        try:
            if name == "peername":
                return self.sock.getpeername()
            return self.sock.getsockname() if name == "sockname" else default
        except OSError:
            return default

    def write(self, data: bytes) -> None:
        self.unsent += data
        try:
            sent = self.sock.send(self.unsent, socket.MSG_DONTWAIT)
            del self.unsent[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.abort()

    def get_write_buffer_size(self) -> int:
        return len(self.unsent)

    def set_write_buffer_limits(self, **_limits: int) -> None:
        """The loop's transport takes over before there is much."""

    def pause_reading(self) -> None:
        """It is read when its turn comes, and `channel.stop` is asked first."""

    resume_reading = pause_reading

    def abort(self) -> None:
        self.closing = True

    close = abort


class WhileBusy:
    """Looks at the sockets for `server`; keeps what came meanwhile until `ended`."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self._newcomers: list[Connection] = []

    def serve(self, caller: Any) -> None:
        """One look at every socket but the caller's."""
        self._accept()
        waiting = self._waiting(caller)
        if not waiting:
            return
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(0):
            self._read(fd, waiting[fd])
            if self.server.finished.done():
                return

    def _waiting(self, caller: Any) -> dict[int, Any]:
        """Clients that may be read from, by file descriptor."""
        found = {}
        for client in self.server.clients.values():
            channel = client.channel
            fd = channel.fd
            if client is caller or fd < 0:
                continue
            if not channel.stop and not client.flags & _NEVER_READ:
                found[fd] = client
        return found

    def _read(self, fd: int, client: Any) -> None:
        if client.flags & _NEVER_READ:
            return
        sock = socket.socket(fileno=fd)
        try:
            data = sock.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        finally:
            sock.detach()
        if data:
            client.channel.data_received(data)
        else:
            self.server.kill(client)

    def _accept(self) -> None:
        for listener in self.server.listeners.plain_sockets():
            for _ in range(ACCEPTS_MAX):
                try:
                    sock, _ = listener.accept()
                except (BlockingIOError, InterruptedError):
                    break
                except OSError:
                    break
                sock.setblocking(False)
                connection = Connection(self.server)
                connection.connection_made(BareTransport(sock))  # type: ignore[arg-type]
                self._newcomers.append(connection)

    def ended(self) -> None:
        """The script is over: who came meanwhile goes to the loop."""
        newcomers, self._newcomers = self._newcomers, []
        for connection in newcomers:
            bare: Any = connection.transport
            if bare.closing:
                bare.sock.close()
                connection.connection_lost(None)
            else:
                self.server.adopt(connection, bare)
