"""Where the server listens: the addresses of `bind` at `port` and `tls-port`, and a unix socket.

Addresses are bound at once and served when `accept` is called, so that a taken port is known before
any data is loaded. Changing `port` or `bind` at run time binds the new sockets first and lets the
old ones go only when all of them are there. What is served is a duplicate of a listening socket, so
that a new TLS context takes the old one's place without the port being closed for a moment.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from cache_server.config import Config
from cache_server.config_kinds import ConfigError
from cache_server.tls import HANDSHAKE_SECONDS_MAX, SHUTDOWN_SECONDS_MAX, Tls

log = logging.getLogger("cache_server")

#: What an address that need not exist (`-::1`) may fail with.
_NOT_HERE = (
    "Address family not supported by protocol",
    "Cannot assign requested address",
    "Protocol not available",
    "Protocol not supported",
)


class ListenError(Exception):
    """An address that cannot be listened on; the text names it and the reason."""


class Listeners:
    """The open listening sockets. `factory` makes the protocol of an accepted connection."""

    def __init__(self, config: Config, loop: Any, factory: Callable[[], Any], tls: Tls) -> None:
        self.config = config
        self.tls = tls
        self.loop = loop
        self.factory = factory
        #: By the setting that names their port.
        self._sockets: dict[str, list[socket.socket]] = {"port": [], "tls-port": []}
        self._unix: socket.socket | None = None
        self._servers: dict[socket.socket, Any] = {}
        self._tasks: set[Any] = set()
        self._accepting = False
        tls.changed = self._serve_again
        config.on_change["port"] = lambda _: self._rebind("Unable to listen on this port. ")
        config.on_change["tls-port"] = self._tls_port_changed
        config.on_change["bind"] = lambda _: self._rebind("Failed to bind to specified addresses. ")

    def bind(self) -> None:
        """Binds everything the settings name. Raises ListenError, logged already."""
        config = self.config
        if self.tls.wanted:
            try:
                self.tls.configure()
            except ConfigError as error:
                log.warning("Failed to configure TLS. Check logs for more info.")
                raise ListenError(str(error)) from None
        for name, kind in (("port", "TCP"), ("tls-port", "TLS")):
            port = self._port(name)
            try:
                self._sockets[name] = self._bind_all(config.bind if port else [], port)
            except ListenError:
                log.warning("Failed listening on port %d (%s), aborting.", port, kind)
                raise
        if config.unixsocket:
            try:
                self._unix = self._bind_unix()
            except OSError as error:
                log.warning("Failed opening Unix socket: bind: %s", error.strerror)
                raise ListenError(str(error)) from None
        if not self._all():
            log.warning("Configured to not listen anywhere, exiting.")
            raise ListenError("nowhere to listen")

    async def accept(self) -> None:
        """Starts to accept connections."""
        self._accepting = True
        for sock in self._all():
            await self._serve(sock)

    def close(self) -> None:
        """Accepts no more; removes the unix socket's file."""
        for sock in self._all():
            self._close_socket(sock)
        if self._unix is not None:
            log.info("Removing the unix socket file.")
            try:
                os.unlink(self.config.unixsocket)
            except OSError as error:
                log.warning("Error removing the unix socket file: %s", error.strerror)
        self._sockets = {"port": [], "tls-port": []}
        self._unix = None

    def plain_sockets(self) -> list[socket.socket]:
        """The listening sockets whose connections are not encrypted."""
        encrypted = self._sockets["tls-port"]
        return [sock for sock in self._all() if sock not in encrypted and self._accepting]

    # -- parts ---------------------------------------------------------------------------------

    def _all(self) -> list[socket.socket]:
        unix = [self._unix] if self._unix is not None else []
        return self._sockets["port"] + self._sockets["tls-port"] + unix

    def _port(self, name: str) -> int:
        return int(self.config.port if name == "port" else self.config.tls_port)

    def _bind_all(self, words: list[str], port: int) -> list[socket.socket]:
        bound: list[socket.socket] = []
        for word in words:
            optional, address = word.startswith("-"), word.removeprefix("-")
            try:
                bound.append(self._bind_one(address, port))
            except OSError as error:
                reason = error.strerror or str(error)
                log.warning(
                    "Could not create server TCP listening socket %s:%d: bind: %s",
                    address,
                    port,
                    reason,
                )
                if optional and reason in _NOT_HERE:
                    continue
                for sock in bound:
                    sock.close()
                raise ListenError(f"{address}:{port}: {reason}") from None
        return bound

    def _bind_one(self, address: str, port: int) -> socket.socket:
        ipv6 = ":" in address
        host = {"*": "0.0.0.0", "::*": "::"}.get(address, address)
        sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ipv6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            sock.listen(self.config.tcp_backlog)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    def _bind_unix(self) -> socket.socket:
        path = self.config.unixsocket
        if os.path.exists(path):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(path)
        sock.listen(self.config.tcp_backlog)
        sock.setblocking(False)
        if self.config.unixsocketperm:
            os.chmod(path, self.config.unixsocketperm)
        return sock

    async def _serve(self, sock: socket.socket) -> None:
        if sock.fileno() < 0:
            return  # closed before its turn came
        served = sock.dup()
        settings: dict[str, Any] = {"backlog": self.config.tcp_backlog}
        if sock.family == socket.AF_UNIX:
            server = await self.loop.create_unix_server(self.factory, sock=served, **settings)
        else:
            if sock in self._sockets["tls-port"]:
                settings["ssl"] = self.tls.accepting
                settings["ssl_handshake_timeout"] = HANDSHAKE_SECONDS_MAX
                settings["ssl_shutdown_timeout"] = SHUTDOWN_SECONDS_MAX
            server = await self.loop.create_server(self.factory, sock=served, **settings)
        if sock.fileno() < 0:
            server.close()
            return
        before, self._servers[sock] = self._servers.get(sock), server
        if before is not None:
            before.close()

    def _serve_again(self) -> None:
        """There is a new TLS context."""
        for sock in self._sockets["tls-port"] if self._accepting else []:
            self.background(self._serve(sock))

    def _tls_port_changed(self, _: int) -> None:
        if self.tls.wanted and self.tls.accepting is None:
            self.tls.configure()
        self._rebind("Unable to listen on this port. ")

    def _close_socket(self, sock: socket.socket) -> None:
        server = self._servers.pop(sock, None)
        if server is not None:
            server.close()
        sock.close()

    def _rebind(self, refusal: str) -> None:
        """After CONFIG SET of ports or bind. Raises ConfigError with everything as it was."""
        fresh: dict[str, list[socket.socket]] = {}
        try:
            for name in self._sockets:
                fresh[name] = self._replace(name)
        except ListenError:
            for name, sockets in fresh.items():
                for sock in sockets:
                    if sock not in self._sockets[name]:
                        sock.close()
            raise ConfigError(refusal + "Check server logs.") from None
        before, self._sockets = self._sockets, fresh
        for name, sockets in before.items():
            for sock in sockets:
                if sock not in fresh[name]:
                    self._close_socket(sock)
            for sock in fresh[name] if self._accepting else []:
                if sock not in sockets:
                    self.background(self._serve(sock))

    def _replace(self, name: str) -> list[socket.socket]:
        """The sockets for the settings, those that stay among them. Raises ListenError."""
        port = self._port(name)
        kept = {_address_of(sock): sock for sock in self._sockets[name]}
        words = self.config.bind if port else []
        staying: list[socket.socket] = []
        missing: list[str] = []
        for word in words:
            sock = kept.get((_plain(word.removeprefix("-")), port))
            if sock is None:
                missing.append(word)
            else:
                staying.append(sock)
        return staying + self._bind_all(missing, port)

    def background(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs something on the loop; it is kept until it is done."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _plain(address: str) -> str:
    return {"*": "0.0.0.0", "::*": "::"}.get(address, address)


def _address_of(sock: socket.socket) -> tuple[str, int]:
    name = sock.getsockname()
    return str(name[0]), int(name[1])
