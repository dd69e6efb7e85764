"""One connection to a data node or to another sentinel.

A link dials, introduces itself (AUTH, CLIENT SETNAME, SUBSCRIBE: the preamble), and is open when
all of that was answered. Then commands go out pipelined and replies are matched by order. It never
redials: its owner is told once that it is over, and why.

    dial --> preamble --> open --> lost
      \\__________\\________________/     `closed(reason)` exactly once, unless we hung up ourselves
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections import deque
from typing import Protocol, cast

from cache_server.coordination import constants
from cache_server.coordination.replies import ReplyError, ReplyReader, encode_command
from replication.failover.cluster_view import Address
from replication.failover.events import RespValue, WireError

Command = tuple[bytes, ...]


class LinkOwner(Protocol):
    """Who is told what happens on a link."""

    def link_opened(self, number: int, host: str, ip: str, local_ip: str) -> None:
        """Dialled and introduced; `ip` is what `host` resolved to, `local_ip` our end."""

    def link_closed(self, number: int, reason: str) -> None:
        """It broke, or never came to be."""

    def link_replied(self, number: int, tag: int, reply: RespValue) -> None:
        """The answer to `send(tag, ...)`."""

    def link_heard(self, number: int, payload: bytes) -> None:
        """A message on the subscribed channel."""


def is_ip(host: str) -> bool:
    """Whether the host is an IP literal."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class NodeLink(asyncio.Protocol):
    """`number` is what its owner calls it. `subscribes`: it hears messages, and takes no commands
    beyond PING. `tls`: what it is encrypted with, None for in clear. `source`: the address it
    dials from, "" for any."""

    def __init__(
        self,
        owner: LinkOwner,
        number: int,
        address: Address,
        preamble: list[Command],
        *,
        subscribes: bool = False,
        tls: ssl.SSLContext | None = None,
        source: str = "",
    ) -> None:
        self._owner = owner
        self._number = number
        self._address = address
        self._preamble = preamble
        self._subscribes = subscribes
        self._tls = tls
        self._local_addr = (source, 0) if source else None
        self._reader = ReplyReader()
        self._waiting: deque[int] = deque()
        self._introduced = 0
        self._refusal = ""
        self._ready = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._over = False

    # -- for the owner -------------------------------------------------------------------------

    def dial(self, timeout_ms: int) -> None:
        """Connects and introduces itself within `timeout_ms`."""
        self._dialling = asyncio.get_running_loop().create_task(self._dial(timeout_ms / 1000))

    def send(self, tag: int, args: Command) -> None:
        """One command. A peer that takes nothing any more is hung up on."""
        transport = self._transport
        if self._over or transport is None:
            return
        self._waiting.append(tag)
        transport.write(encode_command(args))
        if transport.get_write_buffer_size() > constants.LINK_OUTPUT_BYTES_MAX:
            self._lost("it does not take our commands")

    def close(self) -> None:
        """Hangs up; the owner hears nothing more of it."""
        self._over = True
        self._drop()

    # -- asyncio's callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        if self._over:
            self._drop()
            return
        self._transport.write(b"".join(encode_command(args) for args in self._preamble))
        self._note_ready()

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._reader.feed(data)
        except ReplyError as error:
            self._lost(f"protocol error: {error}")
            return
        for reply in replies:
            if self._over:
                return
            self._take(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(str(exc) if exc else "closed by the other end")

    # -- parts ---------------------------------------------------------------------------------

    async def _dial(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._address.host, self._address.port
        try:
            async with asyncio.timeout(timeout_s):
                await loop.create_connection(
                    lambda: self, host, port, ssl=self._tls, local_addr=self._local_addr
                )
                await self._ready
        except TimeoutError:
            self._lost("timed out")
        except OSError as error:
            self._lost(str(error))
        else:
            self._open()

    def _open(self) -> None:
        if self._over or self._transport is None:
            return
        ip = self._transport.get_extra_info("peername")[0]
        local_ip = self._transport.get_extra_info("sockname")[0]
        self._owner.link_opened(self._number, self._address.host, ip, local_ip)

    def _take(self, reply: RespValue) -> None:
        if self._introduced < len(self._preamble):
            self._introduce(reply)
        elif self._subscribes:
            self._hear(reply)
        elif self._waiting:
            self._owner.link_replied(self._number, self._waiting.popleft(), reply)
        else:
            self._lost("protocol error: a reply to nothing")

    def _introduce(self, reply: RespValue) -> None:
        args = self._preamble[self._introduced]
        if isinstance(reply, WireError):
            self._refusal = self._refusal or reply.text[:200]
            if _refuses(args, reply):
                self._lost(f"the node does not let us in: {self._refusal}")
                return
        self._introduced += 1
        self._note_ready()

    def _note_ready(self) -> None:
        if self._introduced == len(self._preamble) and not self._ready.done():
            self._ready.set_result(None)

    def _hear(self, reply: RespValue) -> None:
        if isinstance(reply, tuple) and len(reply) == 3 and reply[0] == b"message":
            payload = reply[2]
            if isinstance(payload, bytes):
                self._owner.link_heard(self._number, payload)
        elif isinstance(reply, WireError):
            self._lost(f"error on a subscribed link: {reply.text[:200]}")

    def _lost(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._drop()
        self._owner.link_closed(self._number, reason)

    def _drop(self) -> None:
        self._waiting.clear()
        if self._transport is not None:
            self._transport.abort()
        if self._dialling is not None and self._dialling is not asyncio.current_task():
            self._dialling.cancel()


def _refuses(args: Command, reply: WireError) -> bool:
    """Whether this answer to a part of the preamble makes the link useless.

    A refused AUTH does not: the node may have no password (any more). What comes after it tells."""
    return args[0] == b"SUBSCRIBE" or reply.text.startswith("NOAUTH")
