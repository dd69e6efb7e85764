"""A sentinel's talk with the leader about its lease, and what the register says told to every node.

    poll                  RENEW without a token
    token came            promise, and send the token back: the leader counts us
    `released`            the leader hands over: our promise ends, the change may go on
    `restarted`           the life that led is over: it counts as down; who has the history leads
    a set is wanted       the leader's in-sync set changes by one compare-and-set of ours

Invariant: a promise is made only for what the register is known to say, never while this sentinel
takes part in a change of leader.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replication.failover import constants
from replication.failover.cluster_view import RegisterValue
from replication.failover.events import RespValue
from replication.failover.messages import (
    LeaseEpoch,
    LeaseRead,
    LeaseRenew,
    MessageError,
    integer,
    parse_address,
    parse_members,
    text,
)
from replication.failover.node import Node
from replication.failover.promotion import State

if TYPE_CHECKING:
    from replication.failover.watch import Watch

RELEASED = "released"
RESTARTED = "restarted"


class Lending:
    """Of one monitored master."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._polled_ms = -1e18
        self._refused = False
        self._wanted: tuple[int, tuple[str, ...]] | None = None
        self._wanted_ms = 0.0

    def poll_soon(self) -> None:
        """Poll the leader's lease at the next tick."""
        self._polled_ms = -1e18

    def leader_node(self) -> Node | None:
        """The node that the register names, where we know it as one that takes a lease."""
        watch = self._watch
        value = watch.tenure.register
        if value is None:
            return None
        for node in (watch.node, *watch.replicas.values()):
            if node.address == value.address or (
                value.leader_id and node.node_id == value.leader_id
            ):
                return node
        return None

    def tick(self, now_ms: float) -> None:
        """Poll, where it is time."""
        watch = self._watch
        period_ms = watch.context.timings.lease_ttl_ms / constants.LEASE_POLLS_PER_TTL
        if watch.drive.state is State.DRAIN or watch.tenure.lease_wanted:
            period_ms = 0
            watch.tenure.lease_wanted = False
        node, value = self.leader_node(), watch.tenure.register
        if node is None or value is None or not node.lease_capable or not node.wires.usable:
            return
        if now_ms - self._polled_ms < period_ms or not value.leader_id:
            return
        self._polled_ms = now_ms
        self._renew(node, value, "")

    def _renew(self, node: Node, value: RegisterValue, token: str) -> None:
        watch = self._watch
        message = LeaseRenew(
            watch.config.name,
            watch.context.sentinel_id,
            watch.members_count,
            value.epoch,
            value.leader_id,
            value.address,
            token,
            value.version,
            value.in_sync,
            value.life,
            watch.tenure.stored,
        )

        def answered(reply: RespValue, at_ms: float) -> None:
            known = watch.tenure.register
            if not token and known is not None and known.epoch == value.epoch:
                self._answered(node, value, reply, at_ms)

        watch.context.links.send(node.wires.link, message.encode(), answered)

    def _answered(self, node: Node, value: RegisterValue, reply: RespValue, now_ms: float) -> None:
        """The first half of an exchange: promise, then send the token back."""
        watch = self._watch
        if not isinstance(reply, tuple) or len(reply) < 4:
            if not self._refused:
                self._refused = True
                watch.publish("-lease-refused", node)
            return
        try:
            epoch, ttl_ms = integer(reply[0]), integer(reply[2], 0, constants.LEASE_TTL_MS_MAX)
            token = text(reply[3])
            rest = reply[4:]
            heir = parse_address(*rest) if token == RELEASED and len(rest) == 2 else None
            wanted = (integer(rest[0]), parse_members(rest[1])) if ttl_ms and rest else None
        except (MessageError, IndexError, TypeError):
            return
        if epoch != value.epoch or reply[1] != value.leader_id.encode():
            return
        if token == RESTARTED:
            if RESTARTED not in node.flags:
                node.flags.add(RESTARTED)
                node.restarted_ms = now_ms
        elif heir is not None:
            watch.tenure.lease.release(value.epoch, value.leader_id)
            if watch.tenure.released_ms is None:
                watch.tenure.released_ms = now_ms
            watch.drive.released(heir, now_ms)
        elif ttl_ms:
            node.flags.discard("restarted")
            self._grant(node, value, ttl_ms, token, now_ms)
            self._change_set(wanted, now_ms)

    def _grant(
        self, node: Node, value: RegisterValue, ttl_ms: int, token: str, now_ms: float
    ) -> None:
        if self._watch.tenure.lend(value, ttl_ms, now_ms) and node.wires.usable:
            self._renew(node, value, token)

    def _change_set(self, wanted: tuple[int, tuple[str, ...]] | None, now_ms: float) -> None:
        """The leader asks for another in-sync set: sentinels try one after the other, by rank."""
        watch, tenure = self._watch, self._watch.tenure
        if wanted != self._wanted:
            self._wanted, self._wanted_ms = wanted, now_ms
        known = tenure.register
        if wanted is None or known is None or tenure.changing or watch.drive.active:
            return
        version, members = wanted
        if version > known.version:
            watch.ask_register()
        if version != known.version or tenure.peer_drives(now_ms):
            return
        if now_ms - self._wanted_ms >= constants.START_STEP_MS * watch.rank:
            value = replace(known, version=version + 1, in_sync=members)
            tenure.change(value, constants.CONFIG_SETTLE_MS, now_ms)

    # What the register says.

    def tell(self, node: Node) -> None:
        """Make a node of ours be what the register says: lead, or follow, or just know the
        epoch.
        """
        watch = self._watch
        value = watch.tenure.register
        if value is None or not value.leader_id or not node.lease_capable or not node.wires.usable:
            return
        if watch.tenure.stored:
            read = LeaseRead(watch.config.name)
            watch.context.links.send(node.wires.link, read.encode())
            return
        message = LeaseEpoch(
            watch.config.name,
            value.epoch,
            value.leader_id,
            value.address,
            value.version,
            value.in_sync,
            value.life,
        )
        watch.context.links.send(node.wires.link, message.encode())

    def tell_all(self, now_ms: float) -> None:
        """The register changed: tell every node of ours, and ask for the lease at once."""
        watch = self._watch
        for node in (watch.node, *watch.replicas.values()):
            self.tell(node)
        self.poll_soon()
        self.tick(now_ms)

    def mismatch(self, node: Node) -> bool:
        """Whether a node of ours reports to be something else than the register says."""
        value = self._watch.tenure.register
        if value is None or not value.leader_id or not node.lease_capable:
            return False
        leads = node.node_id == value.leader_id
        return node.lease_epoch < value.epoch or leads != (node.role == "master")
