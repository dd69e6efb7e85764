"""Virtual time, processes with clocks of their own, and a network with all its sins.

Time is a heap of (ms, number, process, token, call, arguments). Whoever is paused gets what is
meant for it when it wakes; whoever crashed gets nothing, because its token is another one then, and
what it had not made durable is gone.

The network knows links (FIFO, as TCP keeps them, unless `reorder` is allowed for a message) and
paths: a path from a to b may be cut alone. What is sent into a cut path waits, as TCP would resend
it; when the path heals it is delivered or the link breaks, by chance. A peer's crash breaks its
links at once where the path is whole; behind a cut nobody notices.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from replication.failover.events import RespValue

Call = Callable[..., None]
Args = tuple[bytes, ...]
Answer = Callable[[RespValue], None]
#: ms, number, process (None: the world itself), its token, call, arguments.
Event = tuple[float, int, "Process | None", int, Call, tuple[Any, ...]]

#: One message in fifty travels so many times as long.
SLOW_TIMES = 8.0


class World:
    """The clock, the queue, the chance and the written history."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.random = chance.random
        self.now_ms = 0.0
        self.history: list[str] = []
        self.cut: set[tuple[str, str]] = set()
        self.delay_ms_mean = 1.0
        self.processes: dict[str, Process] = {}
        self.conns: list[Conn] = []
        self._queue: list[Event] = []
        self._number = 0

    def tell(self, text: str) -> None:
        """One line of the story."""
        self.history.append(f"{self.now_ms:10.1f} {text}")

    def next_number(self) -> int:
        """A number never used before."""
        self._number += 1
        return self._number

    def at(self, ms: float, call: Call, *args: Any) -> None:
        """Do it then."""
        self._number += 1
        heapq.heappush(self._queue, (ms, self._number, None, 0, call, args))

    def after(self, ms: float, call: Call, *args: Any) -> None:
        """Do it in a while."""
        self._number += 1
        heapq.heappush(self._queue, (self.now_ms + ms, self._number, None, 0, call, args))

    def at_process(self, ms: float, process: Process, call: Call, *args: Any) -> None:
        """Do it then inside the process, if its life is still the same; later if it is paused."""
        self._number += 1
        heapq.heappush(self._queue, (ms, self._number, process, process.token, call, args))

    def run_until(self, ms: float) -> None:
        """Let time pass."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= ms:
            self.now_ms, _, process, token, call, args = pop(queue)
            if process is None:
                call(*args)
            elif process.token == token:
                if process.paused:
                    process.deferred.append((call, args))
                else:
                    call(*args)
        self.now_ms = ms

    def delay_ms(self) -> float:
        """How long a message travels."""
        chance = self.random()
        if chance > 0.98:
            return 0.05 + self.delay_ms_mean * SLOW_TIMES * 100.0 * (chance - 0.98)
        return 0.05 + self.delay_ms_mean * 2.0 * chance

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
        #: Another one after each start and each crash: what was meant for another is dropped.
        self.token = 0
        #: Whether nothing happens inside: it was stopped, or it waits for its disk.
        self.paused = False
        self._stopped = False
        self._stalled = False
        #: How long its disk may take to make something durable.
        self.disk_slow_ms = 0.0
        self._rate = rate
        self._offset_ms = world.random() * 1e6
        self.deferred: list[tuple[Call, tuple[Any, ...]]] = []
        self.conns: set[Conn] = set()
        world.processes[name] = self

    def clock(self) -> float:
        """Its own monotonic clock, ms."""
        return self._offset_ms + self.world.now_ms * self._rate

    def later(self, ms: float, call: Call, *args: Any) -> None:
        """A timer of this process."""
        world = self.world
        world.at_process(world.now_ms + ms / self._rate, self, call, *args)

    def start(self) -> None:
        """Begin a life."""
        assert not self.alive
        self.alive = True
        self.paused = self._stopped = self._stalled = False
        self.life += 1
        self.token += 1
        self.world.tell(f"{self.name} starts")
        self.started()

    def crash(self, power: bool = False) -> None:
        """SIGKILL; with `power` the machine goes down too. Volatile state is gone, links break."""
        self.alive = False
        self.token += 1
        self.deferred.clear()
        self.world.tell(f"{self.name} {'loses power' if power else 'crashes'}")
        self.died(power)
        for conn in sorted(self.conns, key=lambda one: one.number):
            conn.peer_died(self)
        self.conns.clear()

    @property
    def stopped(self) -> bool:
        """Whether a SIGSTOP holds it."""
        return self._stopped

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = self._stopped = True
        self.world.tell(f"{self.name} is stopped")

    def resume(self) -> None:
        """SIGCONT: everything that waited happens now."""
        if not self._stopped:
            return
        self._stopped = False
        self.world.tell(f"{self.name} goes on")
        if not self._stalled:
            self.paused = False
            self.catch_up()

    def stall(self, ms: float, call: Call, *args: Any) -> None:
        """The process waits for its disk; `call` is what it does next."""
        assert not self._stalled
        self.paused = self._stalled = True
        self.world.after(ms, self._unstall, self.token, call, args)

    def _unstall(self, token: int, call: Call, args: tuple[Any, ...]) -> None:
        if token != self.token:
            return
        self._stalled = False
        if self._stopped:
            self.deferred.insert(0, (call, args))
            return
        self.paused = False
        call(*args)
        if not self.paused:
            self.catch_up()

    def catch_up(self) -> None:
        """What came while this process did nothing happens now, in order."""
        deferred, self.deferred = self.deferred, []
        token = self.token
        for at, (call, args) in enumerate(deferred):
            if self.token != token:
                return
            if self.paused:
                self.deferred = deferred[at:] + self.deferred
                return
            call(*args)

    def started(self) -> None:
        """Blank: a new life begins."""
        raise NotImplementedError

    def died(self, power: bool) -> None:
        """Blank: the life is over; the disk keeps what it keeps."""

    def command(self, conn: Conn, args: Args, reply: Answer) -> None:
        """Blank: a command came in."""
        raise NotImplementedError

    def heard_hello(self, conn: Conn, payload: bytes) -> None:
        """Blank: a subscribed link delivered a message."""
        raise NotImplementedError

    def disconnected(self, conn: Conn) -> None:
        """Blank: whoever had dialled us is gone."""


class Conn:
    """One connection from a client process to a server process, with a FIFO each way.

    `closed` is called in the client when the link is gone for it; the server's `disconnected` when
    the client hung up or died.
    """

    def __init__(
        self, client: Process, server: Process, kind: str, closed: Callable[[str], None]
    ) -> None:
        self.client, self.server, self.kind = client, server, kind
        self.world = client.world
        self.number = self.world.next_number()
        self.tokens = (client.token, server.token)
        self.open = False
        self.broken = False
        self.transaction: list[tuple[bytes, ...]] | None = None
        self._closed = closed
        self._last_ms = [0.0, 0.0]
        self._held: list[tuple[Process, Process, Call, tuple[Any, ...]]] = []
        self._there = (client.name, server.name)
        self._back = (server.name, client.name)
        client.conns.add(self)
        server.conns.add(self)
        self.world.conns.append(self)

    def send(self, source: Process, call: Call, *args: Any, reorder: bool = False) -> None:
        """Carry a message from `source` to the other end and do `call` there."""
        if self.broken:
            return
        world = self.world
        if source is self.client:
            target, way, path = self.server, 0, self._there
        else:
            target, way, path = self.client, 1, self._back
        if path in world.cut:
            self._held.append((source, target, call, args))
            return
        at_ms = world.now_ms + world.delay_ms()
        if not reorder:
            last = self._last_ms
            if at_ms < last[way]:
                at_ms = last[way]
            else:
                last[way] = at_ms
        world.at_process(at_ms, target, self._arrive, call, args)

    def _arrive(self, call: Call, args: tuple[Any, ...]) -> None:
        if not self.broken:
            call(*args)

    @property
    def held_count(self) -> int:
        """Messages that wait for a path to be whole."""
        return len(self._held)

    def hang_up(self, by: Process) -> None:
        """One end closes; it hears nothing more. The other learns it, if the path lets it."""
        if self.broken:
            return
        self.broken = True
        self.client.conns.discard(self)
        self.server.conns.discard(self)
        other = self.server if by is self.client else self.client
        if (by.name, other.name) not in self.world.cut:
            self._tell_end(other, "closed by the other end")

    def _tell_end(self, end: Process, reason: str) -> None:
        """The link is gone for this end, which learns it a little later."""
        world = self.world
        token = self.tokens[0] if end is self.client else self.tokens[1]
        if not end.alive or end.token != token:
            return
        at_ms = world.now_ms + world.delay_ms()
        if end is self.client:
            world.at_process(at_ms, end, self._closed, reason)
        else:
            world.at_process(at_ms, end, end.disconnected, self)

    def break_off(self, reason: str) -> None:
        """The link is gone; both ends learn it a little later."""
        if self.broken:
            return
        self.broken = True
        self.client.conns.discard(self)
        self.server.conns.discard(self)
        self._tell_end(self.client, reason)
        self._tell_end(self.server, reason)

    def peer_died(self, dead: Process) -> None:
        """One end crashed. Behind a cut the other does not know yet."""
        other = self.client if dead is self.server else self.server
        if (dead.name, other.name) in self.world.cut:
            self._held.clear()
        else:
            self.break_off("connection reset")

    def healed(self) -> None:
        """The path may be whole again: deliver what waited, or break."""
        if self.broken:
            return
        if self.tokens != (self.client.token, self.server.token):
            self.break_off("connection reset")
            return
        cut = self.world.cut
        if not self._held or any((s.name, t.name) in cut for s, t, _, _ in self._held):
            return
        held, self._held = self._held, []
        if self.world.random() < 0.4:
            self.break_off("timed out")
            return
        for source, _, call, args in held:
            self.send(source, call, *args)


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
        world.at_process(world.now_ms + after_ms, client, closed, reason)

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
