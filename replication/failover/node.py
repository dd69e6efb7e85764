"""One node as a sentinel sees it: its links, its heartbeat, what it last reported.

A data node has two links, one for commands and one subscribed to the hello channel; a sentinel has
one. Links are numbers; the table of who owns a number and what each unanswered command was is kept
here too, so that a reply to a link that is gone finds nothing and is dropped.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from replication.failover import constants
from replication.failover.actions import (
    CloseLink,
    LinkKind,
    OpenLink,
    SendCommand,
    SentinelAction,
)
from replication.failover.cluster_view import Address
from replication.failover.detector import Heartbeat
from replication.failover.events import RespValue

Handler: TypeAlias = Callable[[RespValue, float], None]
Emit: TypeAlias = Callable[[SentinelAction], None]


#: The reason of a LinkClosed whose dial got no answer at all.
TIMED_OUT = "timed out"


class LinkStatus(enum.Enum):
    """Of one link."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"


@dataclass(slots=True)
class Link:
    """One connection, or the intention to have one."""

    kind: LinkKind
    number: int = 0
    status: LinkStatus = LinkStatus.CLOSED
    tried_ms: float = -1e18
    opened_ms: float = 0.0
    heard_ms: float = 0.0
    pending: dict[int, Handler] = field(default_factory=dict)


class LinkTable:
    """All links of the sentinel by number; numbers are never used twice."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._numbers = 0
        self._tags = 0
        self._owners: dict[int, tuple[Wires, Link]] = {}

    def open(self, wires: Wires, link: Link, master: str, timeout_ms: int, now_ms: float) -> None:
        """Dial."""
        assert link.status is LinkStatus.CLOSED
        self._numbers += 1
        link.number, link.status, link.tried_ms = self._numbers, LinkStatus.OPENING, now_ms
        self._owners[link.number] = (wires, link)
        self._emit(OpenLink(link.number, link.kind, master, wires.address, timeout_ms))

    def close(self, link: Link) -> None:
        """Hang up."""
        if link.status is LinkStatus.CLOSED:
            return
        del self._owners[link.number]
        self._emit(CloseLink(link.number))
        self._forget(link)

    def closed(self, number: int) -> Wires | None:
        """The other end hung up, or never answered."""
        wires, link = self._owners.pop(number, (None, None))
        if link is not None:
            self._forget(link)
        return wires

    def opened(self, number: int, now_ms: float) -> tuple[Wires, Link] | None:
        """It is ready."""
        found = self._owners.get(number)
        if found is None or found[1].status is not LinkStatus.OPENING:
            return None
        link = found[1]
        link.status, link.opened_ms, link.heard_ms = LinkStatus.OPEN, now_ms, now_ms
        if link is found[0].link:
            found[0].lost_ms, found[0].refused = None, 0
        return found

    def owner(self, number: int) -> tuple[Wires, Link] | None:
        """Who uses this link."""
        return self._owners.get(number)

    def send(self, link: Link, args: tuple[bytes, ...], handler: Handler | None = None) -> None:
        """Send a command on an open link; `handler` gets the reply, if one comes."""
        assert link.status is LinkStatus.OPEN
        self._tags += 1
        link.pending[self._tags] = handler or _discard
        self._emit(SendCommand(link.number, self._tags, args))

    def reply(self, number: int, tag: int) -> Handler | None:
        """Who waits for this reply; None where nobody does any more."""
        found = self._owners.get(number)
        return found[1].pending.pop(tag, None) if found else None

    def _forget(self, link: Link) -> None:
        link.status = LinkStatus.CLOSED
        link.pending.clear()


def _discard(_reply: RespValue, _now_ms: float) -> None:
    """The reply tells nothing that INFO does not tell better."""


class Wires:
    """The links to one node, which several monitored masters may share (sentinels)."""

    __slots__ = ("address", "heartbeat", "hello", "link", "lost_ms", "refused", "shared_by")

    def __init__(self, address: Address, kind: LinkKind, now_ms: float) -> None:
        self.address = address
        self.link = Link(kind)
        self.hello = Link(LinkKind.PUBSUB) if kind is LinkKind.COMMAND else None
        self.heartbeat = Heartbeat(now_ms)
        self.shared_by = 1
        #: When the command link broke, and dials that were refused since; None while it is open.
        self.lost_ms: float | None = None
        self.refused = 0

    def note_closed(self, link: Link, reason: str, now_ms: float) -> None:
        """A link broke, or could not be opened. A dial that timed out tells nothing; one that was
        refused tells that nobody listens there.
        """
        if link is not self.link:
            return
        if link.status is LinkStatus.OPEN:
            self.lost_ms, self.refused = now_ms, 0
        elif self.lost_ms is not None and reason != TIMED_OUT:
            self.refused += 1

    @property
    def connected(self) -> bool:
        """Whether commands can be sent now and, for a data node, hellos are heard."""
        return self.link.status is LinkStatus.OPEN and (
            self.hello is None or self.hello.status is LinkStatus.OPEN
        )

    @property
    def usable(self) -> bool:
        """Whether a command may be sent now."""
        return (
            self.link.status is LinkStatus.OPEN
            and len(self.link.pending) < constants.PENDING_COMMANDS_MAX * self.shared_by
        )

    def links(self) -> tuple[Link, ...]:
        """One or two."""
        return (self.link,) if self.hello is None else (self.link, self.hello)


@dataclass(slots=True)
class Node:
    """One node in one master's picture. Times are monotonic milliseconds, None = never.

    `flags` holds s_down, o_down, master_down, promoted, reconf_sent, reconf_inprog, reconf_done,
    reboot, restarted (a life under the lease is over).
    """

    kind: str
    address: Address
    wires: Wires
    created_ms: float
    run_id: str = ""
    node_id: str = ""
    lease_epoch: int = 0
    impostor_ms: float = 0.0
    flags: set[str] = field(default_factory=set)
    s_down_ms: float = 0.0
    o_down_ms: float = 0.0
    reboot_ms: float = 0.0
    restarted_ms: float = 0.0
    info_ms: float | None = None
    info_asked_ms: float | None = None
    info_text: str = ""
    role: str = ""
    role_ms: float = 0.0
    config_change_ms: float = 0.0
    master_host: str = "?"
    master_port: int = 0
    link_up: bool = False
    link_down_ms: int = 0
    priority: int = 100
    repl_offset: int = 0
    announced: bool = True
    published_ms: float = -1e18
    hello_ms: float | None = None
    asked_ms: float = -1e18
    answered_down_ms: float = -1e18
    voted_for: str = ""
    vote_epoch: int = 0
    reconf_sent_ms: float = 0.0

    @property
    def name(self) -> str:
        """As Sentinel names it in events: a follower by its address, a sentinel by its id."""
        return self.run_id if self.kind == "sentinel" else str(self.address)

    @property
    def lease_capable(self) -> bool:
        """Whether it is one of ours, which takes a lease."""
        return bool(self.node_id)
