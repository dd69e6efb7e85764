"""A sentinel process: the real SentinelMachine, a state file, and the shell's work in virtual
time. The file is written as the shell does it: what follows in the list of actions waits for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from replication.failover.actions import (
    CloseLink,
    LinkKind,
    OpenLink,
    Persist,
    Publish,
    Reply,
    SendCommand,
    SentinelAction,
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

if TYPE_CHECKING:
    from tests.sim.checkers import Checkers

TICK_MS = 100.0
TICK_BUSY_MS = 25.0
_QUIET = {"+role-change", "-role-change", "+slave", "+sentinel", "-sdown", "+sdown"}


def _nobody(_reply: RespValue) -> None:
    """The answer to a duplicate finds nobody."""


class SentinelNode(Process):
    """`disk` is what the state file holds; it is encoded and decoded when a life begins."""

    def __init__(
        self, world: World, name: str, address: Address, rate: float, options: Options
    ) -> None:
        super().__init__(world, name, rate)
        self.address = address
        self.options = options
        self.reach: dict[Address, Process] = {}
        self.disk = SentinelState(name)
        self._in_flight: SentinelState | None = None
        self.check: Checkers
        self.made_durable: Callable[[SentinelNode], None]

    def started(self) -> None:
        state = decode(encode(self.disk))
        options = self.options
        timings = Timings(
            info_period_ms=2_000,
            ping_period_ms=500,
            ask_period_ms=500,
            publish_period_ms=options.publish_period_ms,
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
                watch.drive.choosing.may_lead = lambda _node, _in_sync: True  # type: ignore[method-assign, assignment]
        self._links: dict[int, Conn | None] = {}
        self._numbers: dict[int, int] = {}
        self._requests: dict[int, Callable[[RespValue], None]] = {}
        self._request = 0
        self.later(TICK_MS * self.world.chance.random(), self._tick)

    def _tick(self) -> None:
        self.machine.tick(self.clock())
        self.later(TICK_BUSY_MS if self.machine.busy else TICK_MS, self._tick)
        self._act()

    def hand_in(self, event: SentinelEvent) -> None:
        """One event, and what follows from it."""
        self.machine.receive(event, self.clock())
        self._act()

    def died(self, power: bool) -> None:
        if self._in_flight is not None and self.world.random() < 0.5:
            self.disk = self._in_flight
        self._in_flight = None

    def _act(self) -> None:
        actions = self.machine.take_actions()
        if actions:
            self._carry_out(actions)

    def _carry_out(self, actions: list[SentinelAction]) -> None:
        for at, action in enumerate(actions):
            kind = type(action)
            if kind is SendCommand:
                self._send(action)  # type: ignore[arg-type]
            elif isinstance(action, Persist):
                self.check.persisted(self, action.state)
                self._in_flight = action.state
                if self.disk_slow_ms:
                    slow_ms = self.disk_slow_ms * self.world.random()
                    self.stall(slow_ms, self._persisted, actions[at:])
                    return
                self._make_durable(action.state)
            elif isinstance(action, Reply):
                self._requests.pop(action.request)(action.value)
            elif isinstance(action, OpenLink):
                self._open(action)
            elif isinstance(action, CloseLink):
                conn = self._links.pop(action.link, None)
                if conn is not None:
                    conn.hang_up(self)
            elif isinstance(action, Publish) and action.channel not in _QUIET:
                self.world.tell(f"{self.name}: {action.channel} {action.payload}")

    def _persisted(self, actions: list[SentinelAction]) -> None:
        """The disk is done; the rest may be seen by others now."""
        action = actions[0]
        assert isinstance(action, Persist)
        self._make_durable(action.state)
        self._carry_out(actions[1:])

    def _make_durable(self, state: SentinelState) -> None:
        self._in_flight = None
        if "persisted-vote" not in self.options.without:
            self.disk = state
        self.made_durable(self)

    def _open(self, action: OpenLink) -> None:
        kind = "pubsub" if action.kind is LinkKind.PUBSUB else "command"
        link = action.link

        def opened(_conn: Conn) -> None:
            if link in self._links:
                self.hand_in(LinkOpened(link))

        def closed(reason: str) -> None:
            if link in self._links:
                del self._links[link]
                self.hand_in(LinkClosed(link, reason))

        target = self.reach.get(action.address)
        conn = dial(self, target, kind, action.timeout_ms, opened, closed)
        self._links[link] = conn
        if conn is not None:
            self._numbers[conn.number] = link

    def _send(self, action: SendCommand) -> None:
        conn = self._links.get(action.link)
        if conn is None:
            return
        server = conn.server
        options, random = self.options, self.world.random
        between_sentinels = isinstance(server, SentinelNode)
        token = self.token

        def answered(reply: RespValue) -> None:
            conn.send(server, self._answered, token, action.link, action.tag, reply)

        twice = between_sentinels or action.args[0] == b"LEASE"
        reorder = between_sentinels and random() < options.reorder_odds
        conn.send(self, server.command, conn, action.args, answered, reorder=reorder)
        if twice and random() < options.duplicate_odds:
            again = between_sentinels
            conn.send(self, server.command, conn, action.args, _nobody, reorder=again)

    def _answered(self, token: int, link: int, tag: int, reply: RespValue) -> None:
        if token == self.token:
            self.hand_in(CommandReplied(link, tag, reply))

    def heard_hello(self, conn: Conn, payload: bytes) -> None:
        """A message on a subscribed link."""
        link = self._numbers.get(conn.number)
        if link in self._links:
            self.hand_in(HelloReceived(link, payload))

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
                    self.check.voted(self, value[1], value[2])  # type: ignore[arg-type]
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
