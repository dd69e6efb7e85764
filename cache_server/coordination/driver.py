"""Ticks the sentinel's machine, carries its events in and its actions out, in order.

The machine says what; this says by which socket, file and timer. After every event the actions are
taken and carried out at once, before anything else of the loop runs: a `Persist` is on the disk
before the action behind it leaves. If that cannot be, nothing of the rest is done and
`host.state_lost` ends the process: a promise that was not written must not leave the machine.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Protocol

from cache_server.coordination.clock import now_ms
from cache_server.coordination.link import Command, NodeLink, is_ip
from replication.failover.actions import (
    AskStore,
    CloseLink,
    LeaderMoved,
    LinkKind,
    OpenLink,
    Persist,
    Publish,
    Reply,
    SendCommand,
    SentinelAction,
)
from replication.failover.cluster_view import ClusterView, SentinelState
from replication.failover.constants import TICK_BUSY_MS, TICK_MS
from replication.failover.events import (
    AddressResolved,
    CommandReplied,
    HelloReceived,
    LinkClosed,
    LinkOpened,
    RespValue,
    SentinelEvent,
    StoreAnswered,
)
from replication.failover.messages import HELLO_CHANNEL
from replication.failover.stores import Ask, Outcome

log = logging.getLogger("cache_server")

#: What answers a request of the machine: called once, perhaps before `ask` returns.
Answer = Callable[[RespValue], None]


class Machine(Protocol):
    """What is driven: `replication.failover.sentinel.SentinelMachine`, or a fake in tests."""

    def receive(self, event: SentinelEvent, now_ms: float) -> None:
        """Take in one event."""

    def tick(self, now_ms: float) -> None:
        """Time passed."""

    def take_actions(self) -> list[SentinelAction]:
        """What is to be done, in order."""

    @property
    def busy(self) -> bool:
        """Whether it is to be ticked often."""

    def view(self, now_ms: float) -> ClusterView:
        """What is known now."""


class Host(Protocol):
    """What the driver needs of the sentinel around it."""

    def save(self, state: SentinelState) -> None:
        """Makes the state durable. Raises OSError where that cannot be done."""

    def state_lost(self, error: OSError) -> None:
        """The state could not be made durable: end the process."""

    def published(self, event: Publish) -> None:
        """A Sentinel event: log it, tell subscribers, run scripts."""

    def leader_moved(self, move: LeaderMoved) -> None:
        """What `client-reconfig-script` is told."""

    def introduction(self, kind: LinkKind, master: str) -> list[Command]:
        """AUTH and CLIENT SETNAME for a new link."""

    def link_context(self) -> ssl.SSLContext | None:
        """What links are encrypted with; None for in clear."""

    def source_address(self) -> str:
        """The address to dial from; "" for any."""

    def may_dial(self, host: str) -> bool:
        """Whether names are resolved, where `host` is one."""

    def dialled(self, host: str, ip: str, local_ip: str) -> None:
        """A link to `host`, which is `ip`, was opened from our address `local_ip`."""

    def ask_store(self, ask: Ask, done: Callable[[Outcome], None]) -> None:
        """A question to the external store; `done` is called once, later."""

    def renamed(self, master: str, args: Command) -> Command:
        """The command under the name it has at the nodes of that master."""


class Driver:
    """One machine at work. `receive` and `ask` may be called at any time on the loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._machine: Machine
        self._links: dict[int, NodeLink] = {}
        self._masters: dict[int, str] = {}
        self._answers: dict[int, Answer] = {}
        self._requests = 0
        self._carrying = False
        self._failed = False
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._names: dict[str, str] = {}

    # -- life ----------------------------------------------------------------------------------

    def start(self, machine: Machine) -> None:
        """Begins to tick."""
        self._machine = machine
        self._tick()

    def stop(self) -> None:
        """Hangs up everywhere; the machine is not ticked any more."""
        self._failed = True
        if self._timer is not None:
            self._timer.cancel()
        for link in self._links.values():
            link.close()
        self._links.clear()

    def _tick(self) -> None:
        if self._failed:
            return
        self._machine.tick(now_ms())
        self._carry_out()
        self._set_timer(self._machine.busy)

    def _set_timer(self, busy: bool) -> None:
        if self._failed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._busy = busy
        after_ms = TICK_BUSY_MS if busy else TICK_MS
        self._timer = asyncio.get_running_loop().call_later(after_ms / 1000, self._tick)

    # -- events in -----------------------------------------------------------------------------

    def receive(self, event: SentinelEvent) -> None:
        """One event, and all that follows from it."""
        if self._failed:
            return
        self._machine.receive(event, now_ms())
        self._carry_out()
        if not self._busy and self._machine.busy:
            self._set_timer(True)

    def ask(self, event: Callable[[int], SentinelEvent], answer: Answer) -> None:
        """A request: `event(number)` is given in, `answer(reply)` is called exactly once."""
        self._requests += 1
        self._answers[self._requests] = answer
        self.receive(event(self._requests))

    def view(self) -> ClusterView:
        """What is known now."""
        return self._machine.view(now_ms())

    def hang_up_peers(self) -> None:
        """Credentials between sentinels changed: the machine dials them anew."""
        for number, master in list(self._masters.items()):
            if not master:
                self._links[number].close()
                self.link_closed(number, "credentials changed")

    def link_opened(self, number: int, host: str, ip: str, local_ip: str) -> None:
        self._host.dialled(host, ip, local_ip)
        if not is_ip(host) and self._names.get(host) != ip:
            self._names[host] = ip
            self.receive(AddressResolved(host, ip))
        self.receive(LinkOpened(number))

    def link_closed(self, number: int, reason: str) -> None:
        self._links.pop(number, None)
        self._masters.pop(number, None)
        self.receive(LinkClosed(number, reason))

    def link_replied(self, number: int, tag: int, reply: RespValue) -> None:
        self.receive(CommandReplied(number, tag, reply))

    def link_heard(self, number: int, payload: bytes) -> None:
        self.receive(HelloReceived(number, payload))

    # -- actions out ---------------------------------------------------------------------------

    def _carry_out(self) -> None:
        if self._carrying:
            return
        self._carrying = True
        try:
            while not self._failed and (actions := self._machine.take_actions()):
                for action in actions:
                    self._do(action)
                    if self._failed:
                        return
        finally:
            self._carrying = False

    def _do(self, action: SentinelAction) -> None:
        if isinstance(action, SendCommand):
            self._send(action)
        elif isinstance(action, OpenLink):
            self._open(action)
        elif isinstance(action, CloseLink):
            link = self._links.pop(action.link, None)
            self._masters.pop(action.link, None)
            if link is not None:
                link.close()
        elif isinstance(action, Persist):
            try:
                self._host.save(action.state)
            except OSError as error:
                self._failed = True
                self._host.state_lost(error)
        elif isinstance(action, Reply):
            self._answers.pop(action.request)(action.value)
        elif isinstance(action, Publish):
            self._host.published(action)
        elif isinstance(action, AskStore):
            self._ask_store(action)
        else:
            self._host.leader_moved(action)

    def _ask_store(self, action: AskStore) -> None:
        self._host.ask_store(
            action.ask, lambda outcome: self.receive(StoreAnswered(action.tag, outcome))
        )

    def _open(self, action: OpenLink) -> None:
        preamble = self._host.introduction(action.kind, action.master)
        subscribes = action.kind is LinkKind.PUBSUB
        if subscribes:
            preamble.append((b"SUBSCRIBE", HELLO_CHANNEL))
        link = NodeLink(
            self,
            action.link,
            action.address,
            preamble,
            subscribes=subscribes,
            tls=self._host.link_context(),
            source=self._host.source_address(),
        )
        self._links[action.link] = link
        self._masters[action.link] = "" if action.kind is LinkKind.SENTINEL else action.master
        if is_ip(action.address.host) or self._host.may_dial(action.address.host):
            link.dial(action.timeout_ms)
        else:
            reason = "a host name where resolve-hostnames is no"
            asyncio.get_running_loop().call_soon(self._refuse, action.link, reason)

    def _refuse(self, number: int, reason: str) -> None:
        if number in self._links:
            self.link_closed(number, reason)

    def _send(self, action: SendCommand) -> None:
        link = self._links.get(action.link)
        if link is None:
            return
        args = action.args
        master = self._masters[action.link]
        link.send(action.tag, self._host.renamed(master, args) if master else args)
