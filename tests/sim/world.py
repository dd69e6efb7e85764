"""Virtual time, processes with clocks of their own, and a network with all its sins.

Time is a heap of (ms, number, call). Whoever is paused gets what is meant for it when it wakes;
whoever crashed gets nothing, and what it had not made durable is gone.

The network knows links (FIFO, as TCP keeps them, unless `reorder` is allowed for a message) and
paths: a path from a to b may be cut alone. What is sent into a cut path waits, as TCP would resend
it; when the path heals it is delivered or the link breaks, by chance. A peer's crash breaks its
links at once where the path is whole; behind a cut nobody notices.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from replication.failover.events import RespValue

Call = Callable[[], None]
Args = tuple[bytes, ...]
Answer = Callable[[RespValue], None]


class World:
    """The clock, the queue, the chance and the written history."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_ms = 0.0
        self.history: list[str] = []
        self.cut: set[tuple[str, str]] = set()
        self.delay_ms_mean = 1.0
        self.processes: dict[str, Process] = {}
        self.conns: list[Conn] = []
        self._queue: list[tuple[float, int, Call]] = []
        self._number = 0

    def tell(self, text: str) -> None:
        """One line of the story."""
        self.history.append(f"{self.now_ms:10.1f} {text}")

    def at(self, ms: float, call: Call) -> None:
        """Do it then."""
        self._number += 1
        heapq.heappush(self._queue, (ms, self._number, call))

    def after(self, ms: float, call: Call) -> None:
        """Do it in a while."""
        self.at(self.now_ms + ms, call)

    def run_until(self, ms: float) -> None:
        """Let time pass."""
        queue = self._queue
        while queue and queue[0][0] <= ms:
            self.now_ms, _, call = heapq.heappop(queue)
            call()
        self.now_ms = ms

    def delay_ms(self) -> float:
        """How long a message travels."""
        chance = self.chance.random()
        slow = 8.0 if chance > 0.98 else 1.0
        return 0.05 + self.delay_ms_mean * slow * 2.0 * self.chance.random()

    def heal(self, pairs: set[tuple[str, str]] | None = None) -> None:
        """Paths are whole again; links that waited deliver or break."""
        self.cut = set() if pairs is None else self.cut - pairs
        for conn in self.conns:
            conn.healed()
        self.conns = [conn for conn in self.conns if not conn.broken]


class Process:
    """Something with a clock, that can crash, pause and restart."""

    def __init__(self, world: World, name: str, rate: float) -> None:
        self.world = world
        self.name = name
        self.alive = False
        self.life = 0
        self.paused = False
        self._rate = rate
        self._offset_ms = world.chance.random() * 1e6
        self._deferred: list[tuple[int, Call]] = []
        self.conns: set[Conn] = set()
        world.processes[name] = self

    def clock(self) -> float:
        """Its own monotonic clock, ms."""
        return self._offset_ms + self.world.now_ms * self._rate

    def run(self, life: int, call: Call) -> None:
        """Do something inside this process, if it is still the same life; later if it is paused."""
        if not self.alive or life != self.life:
            return
        if self.paused:
            self._deferred.append((life, call))
        else:
            call()

    def later(self, ms: float, call: Call) -> None:
        """A timer of this process."""
        life = self.life
        self.world.after(ms / self._rate, lambda: self.run(life, call))

    def start(self) -> None:
        """Begin a life."""
        assert not self.alive
        self.alive, self.paused = True, False
        self.life += 1
        self.world.tell(f"{self.name} starts")
        self.started()

    def crash(self) -> None:
        """SIGKILL: volatile state is gone, links break."""
        self.alive = False
        self._deferred.clear()
        self.world.tell(f"{self.name} crashes")
        for conn in sorted(self.conns, key=lambda one: one.number):
            conn.peer_died(self)
        self.conns.clear()

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True
        self.world.tell(f"{self.name} is stopped")

    def resume(self) -> None:
        """SIGCONT: everything that waited happens now."""
        if not self.paused:
            return
        self.paused = False
        self.world.tell(f"{self.name} goes on")
        deferred, self._deferred = self._deferred, []
        for life, call in deferred:
            self.run(life, call)

    def started(self) -> None:
        """Blank: a new life begins."""
        raise NotImplementedError

    def command(self, conn: Conn, args: Args, reply: Answer) -> None:
        """Blank: a command came in."""
        raise NotImplementedError

    def heard_hello(self, conn: Conn, payload: bytes) -> None:
        """Blank: a subscribed link delivered a message."""
        raise NotImplementedError


class Conn:
    """One connection from a client process to a server process, with a FIFO each way.

    `closed` is called in the client when the link is gone for it.
    """

    def __init__(
        self, client: Process, server: Process, kind: str, closed: Callable[[str], None]
    ) -> None:
        self.client, self.server, self.kind = client, server, kind
        self.world = client.world
        self.number = self.world._number
        self.lives = (client.life, server.life)
        self.open = False
        self.broken = False
        self.transaction: list[tuple[bytes, ...]] | None = None
        self._closed = closed
        self._last_ms = {client.name: 0.0, server.name: 0.0}
        self._held: list[tuple[Process, Process, Call]] = []
        client.conns.add(self)
        server.conns.add(self)
        self.world.conns.append(self)

    def send(self, source: Process, call: Call, reorder: bool = False) -> None:
        """Carry a message from `source` to the other end and do `call` there."""
        if self.broken:
            return
        target = self.server if source is self.client else self.client
        if (source.name, target.name) in self.world.cut:
            self._held.append((source, target, call))
            return
        at_ms = self.world.now_ms + self.world.delay_ms()
        if not reorder:
            at_ms = max(at_ms, self._last_ms[target.name])
            self._last_ms[target.name] = at_ms
        life = target.life
        self.world.at(at_ms, lambda: None if self.broken else target.run(life, call))

    def hang_up(self) -> None:
        """The client closes; it hears nothing more."""
        self.broken = True
        self.client.conns.discard(self)
        self.server.conns.discard(self)

    def break_off(self, reason: str) -> None:
        """The link is gone; the client learns it a little later."""
        if self.broken:
            return
        self.hang_up()
        life = self.lives[0]
        closed = self._closed
        self.world.after(
            self.world.delay_ms(), lambda: self.client.run(life, lambda: closed(reason))
        )

    def peer_died(self, dead: Process) -> None:
        """One end crashed."""
        self.client.conns.discard(self)
        other = self.client if dead is self.server else self.server
        if other is self.server:
            self.broken = True
            self.server.conns.discard(self)
        elif (dead.name, other.name) in self.world.cut:
            self._held.clear()
        else:
            self.break_off("connection reset")

    def healed(self) -> None:
        """The path may be whole again: deliver what waited, or break."""
        if self.broken:
            return
        if self.lives != (self.client.life, self.server.life) or not self.server.alive:
            self.break_off("connection reset")
            return
        if not self._held or any((s.name, t.name) in self.world.cut for s, t, _ in self._held):
            return
        held, self._held = self._held, []
        if self.world.chance.random() < 0.4:
            self.break_off("timed out")
            return
        for source, _, call in held:
            self.send(source, call)


def dial(
    client: Process,
    server: Process | None,
    kind: str,
    timeout_ms: float,
    opened: Callable[[Conn], None],
    closed: Callable[[str], None],
) -> Conn | None:
    """Connect: calls `opened` or `closed` in the client."""
    world = client.world

    def refuse(after_ms: float, reason: str) -> None:
        life = client.life
        world.after(after_ms, lambda: client.run(life, lambda: closed(reason)))

    if server is None:
        refuse(1.0, "no such host")
        return None
    there, back = (client.name, server.name), (server.name, client.name)
    if there in world.cut or back in world.cut:
        refuse(timeout_ms, "timed out")
        return None
    if not server.alive:
        refuse(world.delay_ms(), "refused")
        return None
    conn = Conn(client, server, kind, closed)

    def ready() -> None:
        conn.open = True
        opened(conn)

    conn.send(server, ready)
    return conn
