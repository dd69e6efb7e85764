"""What a sentinel does about the register when no failover is under way.

It writes the very first value, completes a change whose driver went silent, takes up a value that
nobody announced, and names again a leader that came back where nobody else can lead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.failover import constants
from replication.failover.cluster_view import RegisterValue, life_of
from replication.failover.node import Node
from replication.failover.promotion import State

if TYPE_CHECKING:
    from replication.failover.watch import Watch


class Settling:
    """Of one monitored master."""

    def __init__(self, watch: Watch, now_ms: float) -> None:
        self._watch = watch
        self._born_ms = now_ms
        self._chance_ms = watch.context.by_chance(constants.PEER_DRIVES_MS)

    def tick(self, now_ms: float) -> None:
        """Whatever is due."""
        self._start_register(now_ms)
        self._accept_new_identity(now_ms)
        self._finish_undecided(now_ms)
        self._settle_config(now_ms)
        self._be_ready(now_ms)

    def _start_register(self, now_ms: float) -> None:
        """Write the very first value: the configured master, seen to lead, is the leader.

        Sentinels wait for each other in the order of their ids, so that one of them does it.
        """
        watch = self._watch
        node, tenure = watch.node, watch.tenure
        if tenure.register is not None or tenure.changing or watch.drive.active:
            return
        if tenure.peer_drives(now_ms):
            return
        if node.role != "master" or node.info_ms is None or "s_down" in node.flags:
            return
        rank = watch.rank
        wait_ms = constants.REGISTER_INIT_STEP_MS * (1 + rank)
        if now_ms - max(self._born_ms, tenure.busy_until_ms) < wait_ms:
            return
        epoch = node.lease_epoch + 1 if node.lease_epoch else 0
        epoch = max(epoch, watch.config_epoch)
        value = RegisterValue(epoch, node.node_id, node.address, life=life_of(node.run_id))
        tenure.change(value, 2_000, now_ms)
        self._born_ms = now_ms + constants.REGISTER_INIT_STEP_MS * rank

    def _be_ready(self, now_ms: float) -> None:
        """The first of the sentinels has its round of the register prepared, so that a change that
        nobody announced (FAILOVER or SIGTERM at the leader, its death) needs one exchange only.
        """
        watch, tenure = self._watch, self._watch.tenure
        if tenure.register is None or watch.rank or watch.drive.active or tenure.changing:
            return
        quiet_ms = now_ms - max(tenure.learned_ms, tenure.prepared_ms)
        if tenure.ready or tenure.peer_drives(now_ms) or quiet_ms < constants.PEER_DRIVES_MS:
            return
        tenure.prepare(now_ms)

    def is_impostor(self, node: Node) -> bool:
        """Another node answers at the leader's address, or the leader without its memory.

        It may have lost its history: its followers must not take an empty data set from it.
        """
        value = self._watch.tenure.register
        if value is None or not value.leader_id or node.info_ms is None:
            return False
        return node.address == value.address and node.node_id != value.leader_id

    def _accept_new_identity(self, now_ms: float) -> None:
        """Name the node at the leader's address leader again under its new id.

        Done at once where the register knows no id (a stock server was replaced by one of ours),
        and where there is nobody else to lead.
        """
        watch = self._watch
        node, tenure = watch.node, watch.tenure
        value = tenure.register
        if value is None or tenure.changing or watch.drive.active or node.info_ms is None:
            return
        if tenure.peer_drives(now_ms):
            return
        if node.address != value.address or now_ms < tenure.busy_until_ms:
            return
        returned_ms = tenure.released_ms
        since_ms = node.impostor_ms if returned_ms is None else returned_ms
        if returned_ms is None and (node.role != "master" or node.node_id == value.leader_id):
            return
        if value.leader_id:
            patience_ms = 2 * watch.config.down_after_ms
            if now_ms - since_ms < patience_ms or not watch.drive.hopeless(now_ms):
                return
            if not watch.drive.choosing.may_lead(node, value.in_sync):
                return
        self.name_leader(node, now_ms)

    def name_leader(self, node: Node, now_ms: float) -> None:
        """Name a node that leads already, under a new epoch: nobody has more of the history."""
        watch = self._watch
        tenure = watch.tenure
        value = tenure.register
        known = value.epoch if value else 0
        watch.context.raise_epoch(max(watch.context.current_epoch, node.lease_epoch, known) + 1)
        in_sync = watch.drive.choosing.set_under(node)
        epoch, life = watch.context.current_epoch, life_of(node.run_id)
        renewed = RegisterValue(epoch, node.node_id, node.address, in_sync, life=life)
        tenure.withhold(constants.REGISTER_INIT_STEP_MS, now_ms)
        tenure.change(renewed, constants.CONFIG_SETTLE_MS, now_ms)

    def _finish_undecided(self, now_ms: float) -> None:
        """Complete a change whose driver went silent: propose what our acceptor holds."""
        watch = self._watch
        tenure = watch.tenure
        value = tenure.undecided
        if value is None or tenure.changing or watch.drive.active or tenure.peer_drives(now_ms):
            return
        if now_ms - tenure.accepted_ms < constants.REGISTER_ROUND_MS + self._chance_ms:
            return
        self._chance_ms = watch.context.by_chance(constants.PEER_DRIVES_MS)
        tenure.accepted_ms = now_ms
        tenure.change(value, constants.CONFIG_SETTLE_MS, now_ms)

    def register_tick(self, now_ms: float) -> None:
        """Collect the outcome of a change that no failover waits for."""
        watch = self._watch
        result = watch.tenure.tick(now_ms)
        if result is not None:
            watch.drive.register_answered(result, now_ms)
        told = watch.drive.state is State.WAIT_PROMOTION  # by the drive, just now
        if watch.tenure.take_news() or (result is not None and not told):
            watch.lending.tell_all(now_ms)

    def _settle_config(self, now_ms: float) -> None:
        """The register names a leader whom nobody announced (its driver is gone): make it so."""
        watch = self._watch
        value = watch.tenure.register
        if value is None or watch.drive.active or value.epoch <= watch.config_epoch:
            return
        node = watch.lending.leader_node()
        leads = node is not None and node.role == "master" and node.info_ms is not None
        if not leads and now_ms - watch.tenure.learned_ms < constants.CONFIG_SETTLE_MS:
            return
        watch.config_epoch = value.epoch
        watch.context.changed_later(now_ms)
        if not watch.context.same(value.address, watch.node.address):
            watch.switch_to(value.address, "observer", now_ms)
        watch.lending.tell_all(now_ms)
