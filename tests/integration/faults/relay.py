"""A network between real processes whose links can be cut, one way too, without privileges.

Each node listens behind a door of its own, and that door's address is the one it announces. Each
node dials from a loopback address of its own (`bind-source-addr`), so the door knows who dials:

    node a --from 127.0.2.1--> door of b (127.0.0.1:port) --> node b (127.0.0.1:its port)

A cut direction takes nothing up any more: what is on the way waits, as TCP would send it again, and
nobody hears of an end. What was said arrives when the cut heals, if its connection still stands.
A dial over a cut stays unanswered. The door of a dead node is closed: dials are refused.
"""

from __future__ import annotations

import asyncio
from typing import cast

#: A direction: who says it, who hears it.
Direction = tuple[str, str]


class _End(asyncio.Protocol):
    """One side of a connection through a door: bytes that `speaker` says, for `other`."""

    def __init__(self, net: Network, speaker: str, hearer: str) -> None:
        self.net = net
        self.direction = (speaker, hearer)
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self.over = False
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.net.ends.add(self)
        self.settle()

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is not None and other.transport is not None and not other.over:
            other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        self.settle()

    def pause_writing(self) -> None:
        """Our node takes nothing more: the other one is not heard until it does."""
        if self.other is not None:
            self.other._full = True
            self.other.settle()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._full = False
            self.other.settle()

    def settle(self) -> None:
        """Reads or does not read, as the cuts are; an end is passed on over a whole link only."""
        cut = self.direction in self.net.cuts
        if self.over:
            if not cut:
                self.net.ends.discard(self)
                if self.other is not None and self.other.transport is not None:
                    self.other.transport.close()
            return
        if self.transport is None or self.transport.is_closing():
            return
        if cut or self._full or self.other is None:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


class _Caller(_End):
    """Who came to a door; its node is dialled as soon as no direction is cut."""

    def __init__(self, net: Network, name: str, port: int) -> None:
        super().__init__(net, "", name)
        self._port = port
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        host = transport.get_extra_info("peername")[0]
        self.direction = (self.net.names.get(host, host), self.direction[1])
        super().connection_made(transport)

    def settle(self) -> None:
        back = (self.direction[1], self.direction[0])
        if self._dialling is None and not self.over and not {self.direction, back} & self.net.cuts:
            self._dialling = asyncio.get_running_loop().create_task(self._dial(back))
        super().settle()

    async def _dial(self, back: Direction) -> None:
        answering = _End(self.net, *back)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: answering, "127.0.0.1", self._port)
        except OSError:
            if self.transport is not None:
                self.transport.abort()
            return
        answering.other, self.other = self, answering
        answering.settle()
        self.settle()


class Network:
    """All doors and cuts. `names`: who dials from which host."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.cuts: frozenset[Direction] = frozenset()
        self.ends: set[_End] = set()
        self._doors: dict[str, asyncio.Server] = {}

    async def open(self, name: str, door_port: int, node_port: int) -> None:
        """Opens the door of a node that lives."""
        if name not in self._doors:
            loop = asyncio.get_running_loop()
            self._doors[name] = await loop.create_server(
                lambda: _Caller(self, name, node_port), "127.0.0.1", door_port
            )

    def shut(self, name: str) -> None:
        """The node died: its door refuses."""
        door = self._doors.pop(name, None)
        if door is not None:
            door.close()

    def cut(self, directions: set[Direction]) -> None:
        """These are cut from now on, all others are whole."""
        self.cuts = frozenset(directions)
        for end in list(self.ends):
            end.settle()

    def close(self) -> None:
        """Everything."""
        for name in list(self._doors):
            self.shut(name)
        for end in list(self.ends):
            if end.transport is not None:
                end.transport.abort()
