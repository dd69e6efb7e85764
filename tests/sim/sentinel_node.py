"""A sentinel process: the real SentinelMachine, a state file, and the shell's work in virtual
time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from replication.failover.actions import (
    CloseLink,
    LinkKind,
    OpenLink,
    Persist,
    Publish,
    Reply,
    SendCommand,
)
from replication.failover.cluster_view import Address, SentinelState, Timings
from replication.failover.events import (
    CommandReplied,
    DownQuestionAsked,
    FailoverAsked,
    HelloReceived,
    LinkClosed,
    LinkOpened,
    RegisterAsked,
    RespValue,
    SentinelEvent,
)
from replication.failover.sentinel import SentinelMachine
from replication.failover.state import decode, encode
from tests.sim.options import Options
from tests.sim.world import Conn, Process, World, dial

TICK_MS = 100.0
_QUIET = {"+role-change", "-role-change", "+slave", "+sentinel", "-sdown", "+sdown"}


class SentinelNode(Process):
    """`disk` is the state file's bytes."""

    def __init__(
        self, world: World, name: str, address: Address, rate: float, options: Options
    ) -> None:
        super().__init__(world, name, rate)
        self.address = address
        self.options = options
        self.reach: dict[Address, Process] = {}
        self.first_state = SentinelState(name)
        self.disk = b""
        self.persisted: Callable[[SentinelNode, SentinelState], None] = lambda _n, _s: None
        self.voted: Callable[[SentinelNode, bytes, int], None] = lambda _n, _c, _e: None

    def started(self) -> None:
        state = decode(self.disk) if self.disk else self.first_state
        options = self.options
        timings = Timings(
            info_period_ms=2_000,
            ping_period_ms=500,
            ask_period_ms=500,
            publish_period_ms=1_000,
            tilt_trigger_ms=2_000,
            tilt_period_ms=1_500,
            slave_reconf_timeout_ms=2_000,
            min_link_reconnect_ms=1_500,
            election_timeout_ms=1_500,
            lease_ttl_ms=options.lease_ttl_ms,
        )
        chance = random.Random(self.world.chance.random())
        self.machine = SentinelMachine(state, self.address, chance, self.clock(), timings)
        if "in-sync-check" in options.without:
            for watch in self.machine._watches.values():
                watch.drive.choosing.may_lead = lambda _node, _in_sync: True  # type: ignore[method-assign]
        self._links: dict[int, Conn | None] = {}
        self._requests: dict[int, Callable[[RespValue], None]] = {}
        self._request = 0
        self.later(TICK_MS * self.world.chance.random(), self._tick)

    def _tick(self) -> None:
        self.later(TICK_MS, self._tick)
        self.machine.tick(self.clock())
        self._act()

    def hand_in(self, event: SentinelEvent) -> None:
        """One event, and what follows from it."""
        self.machine.receive(event, self.clock())
        self._act()

    def _act(self) -> None:
        for action in self.machine.take_actions():
            if isinstance(action, Persist):
                self.persisted(self, action.state)
                if "persisted-vote" not in self.options.without:
                    self.disk = encode(action.state)
            elif isinstance(action, Reply):
                self._requests.pop(action.request)(action.value)
            elif isinstance(action, SendCommand):
                self._send(action)
            elif isinstance(action, OpenLink):
                self._open(action)
            elif isinstance(action, CloseLink):
                conn = self._links.pop(action.link, None)
                if conn is not None:
                    conn.hang_up()
            elif isinstance(action, Publish) and action.channel not in _QUIET:
                self.world.tell(f"{self.name}: {action.channel} {action.payload}")

    def _open(self, action: OpenLink) -> None:
        kind = "pubsub" if action.kind is LinkKind.PUBSUB else "command"

        def opened(_conn: Conn) -> None:
            self.hand_in(LinkOpened(action.link))

        def closed(reason: str) -> None:
            self._links.pop(action.link, None)
            self.hand_in(LinkClosed(action.link, reason))

        target = self.reach.get(action.address)
        self._links[action.link] = dial(self, target, kind, action.timeout_ms, opened, closed)

    def _send(self, action: SendCommand) -> None:
        conn = self._links.get(action.link)
        if conn is None:
            return
        server, life = conn.server, self.life
        options, chance = self.options, self.world.chance
        between_sentinels = isinstance(server, SentinelNode)

        def answered(reply: RespValue) -> None:
            conn.send(
                server,
                lambda: (
                    self.hand_in(CommandReplied(action.link, action.tag, reply))
                    if self.life == life
                    else None
                ),
            )

        def arrives(reply: Callable[[RespValue], None]) -> Callable[[], None]:
            return lambda: server.command(conn, action.args, reply)

        reorder = between_sentinels and chance.random() < options.reorder_odds
        conn.send(self, arrives(answered), reorder)
        twice = between_sentinels or action.args[0] == b"LEASE"
        if twice and chance.random() < options.duplicate_odds:
            conn.send(self, arrives(lambda _reply: None), between_sentinels)

    def heard_hello(self, conn: Conn, payload: bytes) -> None:
        """A message on a subscribed link."""
        for link, one in self._links.items():
            if one is conn:
                self.hand_in(HelloReceived(link, payload))
                return

    def command(
        self, _conn: Conn, args: tuple[bytes, ...], reply: Callable[[RespValue], None]
    ) -> None:
        """One command of another sentinel."""
        if args[0] == b"PING":
            reply(b"PONG")
        elif args[0] == b"PUBLISH":
            self.hand_in(HelloReceived(None, args[2]))
            reply(1)
        elif args[1] == b"REGISTER":
            self._ask(RegisterAsked(self._next(reply), args[2:]))
        else:
            candidate = args[5]

            def vote(value: RespValue) -> None:
                if candidate != b"*" and isinstance(value, tuple):
                    self.voted(self, value[1], value[2])  # type: ignore[arg-type]
                reply(value)

            self._ask(DownQuestionAsked(self._next(vote), args[2:]))

    def _next(self, reply: Callable[[RespValue], None]) -> int:
        self._request += 1
        self._requests[self._request] = reply
        return self._request

    def _ask(self, event: SentinelEvent) -> None:
        self.hand_in(event)

    def fail_over(self, name: str) -> None:
        """SENTINEL FAILOVER, typed by a person."""
        answer = self._next(lambda value: self.world.tell(f"{self.name} answers {value!r}"))
        self.hand_in(FailoverAsked(answer, name))
