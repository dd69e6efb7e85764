"""Driving one failover: the acting half of a sentinel, by the table in promotion.py.

Two kinds. Unplanned: the leader is objectively down; a majority of votes names the driver; the
leader's lease runs out by itself before the acceptors accept another leader. Planned (SENTINEL
FAILOVER, or a leader that gave its lease back by itself): a leader of ours is asked to pause
writes, let the heir catch up and release its lease (`FAILOVER TO host port TIMEOUT ms`); nothing is
lost and nothing waits. A stock leader cannot be drained: then a planned failover is what Redis
Sentinel does.

The register is changed before anybody is told to lead, so that whoever leads does so by an epoch
that no other node shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.failover import constants, election
from replication.failover.actions import LeaderMoved
from replication.failover.choosing import Choosing
from replication.failover.cluster_view import Address, RegisterValue, life_of
from replication.failover.coordinator import LostRace, Result, Won
from replication.failover.events import RespValue, WireError
from replication.failover.node import Node
from replication.failover.promotion import State, Step, after

if TYPE_CHECKING:
    from replication.failover.watch import Watch

# A change of leader is wanted and not yet made: meanwhile this sentinel renews no lease.
_UNDECIDED = (State.WAIT_START, State.SELECT_SLAVE, State.REGISTER)


class Drive:
    """The failover in progress of one master, or the readiness to begin one."""

    def __init__(self, watch: Watch) -> None:
        self.state = State.NONE
        self.epoch = 0
        self.promoted: Node | None = None
        self.planned = False
        self.forced = False
        self.choosing = Choosing(watch)
        self.changed_ms = 0.0
        self._heir: Address | None = None
        self._began_ms = 0.0
        self._retry_at_ms = 0.0
        self._odown_begin_ms: float | None = None
        self._released_begin_ms: float | None = None
        self._asked_until_ms = -1e18
        self._watch = watch

    @property
    def active(self) -> bool:
        """Whether this sentinel drives a failover."""
        return self.state is not State.NONE

    @property
    def electing(self) -> bool:
        """Whether votes are wanted."""
        return self.state is State.WAIT_START and not self.planned

    def tick(self, now_ms: float) -> None:
        """Begin, or go on."""
        watch = self._watch
        if watch.tenure.register is not None:
            self.superseded(watch.tenure.register.epoch, now_ms)
        self._begin_if_needed(now_ms)
        if self.state in _UNDECIDED:
            watch.tenure.withhold(watch.context.timings.lease_ttl_ms, now_ms)
        before = None
        while self.state is not before:
            before = self.state
            self._step(now_ms)

    def _step(self, now_ms: float) -> None:
        """Whatever the state lets be done now."""
        steps = {
            State.WAIT_START: self._wait_start,
            State.SELECT_SLAVE: self._select_slave,
            State.DRAIN: self._drain,
            State.SEND_SLAVEOF_NOONE: self._send_slaveof_noone,
            State.WAIT_PROMOTION: self._wait_promotion,
            State.RECONF_SLAVES: self._reconf_slaves,
            State.UPDATE_CONFIG: self._switch,
        }
        step = steps.get(self.state)
        if step is not None:
            step(now_ms)

    # Beginning.

    def ask(self, now_ms: float, *, forced: bool = False) -> RespValue:
        """SENTINEL FAILOVER; `forced`: also a follower that may lack acknowledged writes."""
        watch = self._watch
        if self.active:
            return WireError("INPROG Failover already in progress")
        if self.hopeless(now_ms) and not forced:
            return WireError("NOGOODSLAVE No suitable replica to promote")
        if watch.node.lease_capable and watch.tenure.register is None:
            # Another sentinel may be writing the register's first value, which names the old
            # leader: a leader that hands over meanwhile would be told to lead again.
            self._asked_until_ms = now_ms + constants.CONFIG_SETTLE_MS
            return b"OK"
        watch.context.publish("+force-failover", f"master {watch.config.name}", False)
        self._begin(True, None, now_ms)
        self.forced = forced
        return b"OK"

    def released(self, heir: Address, now_ms: float) -> None:
        """The leader gave its lease back in favour of `heir`."""
        if self.state is State.DRAIN:
            self._move(Step.RELEASED, now_ms)
            self._change_register(now_ms)
        elif not self.active and self._released_begin_ms is None:
            # FAILOVER was sent to the leader, perhaps by another sentinel; that one has prepared
            # the register before, and is left to it.
            self._released_begin_ms = now_ms + constants.START_STEP_MS * self._watch.rank
            self._heir = heir
            self._begin_if_needed(now_ms)

    def wait_for_other(self, now_ms: float) -> None:
        """We voted for another sentinel: leave it time."""
        timeout_ms = 2 * self._watch.config.failover_timeout_ms
        self._retry_at_ms = now_ms + min(timeout_ms, constants.RETRY_MS_MAX)
        self._odown_begin_ms = self._released_begin_ms = None

    def _begin_if_needed(self, now_ms: float) -> None:
        watch = self._watch
        if self.active:
            return
        if now_ms < self._asked_until_ms and watch.tenure.register is not None:
            self._asked_until_ms = -1e18
            self.ask(now_ms)
            return
        begin_ms = self._released_begin_ms
        if begin_ms is not None and now_ms >= begin_ms and not watch.tenure.peer_drives(now_ms):
            self._released_begin_ms = None
            self._begin(True, self._heir, now_ms)
            return
        if "o_down" not in watch.node.flags or now_ms < self._retry_at_ms:
            self._odown_begin_ms = None
            return
        if self._odown_begin_ms is None:
            chance_ms = watch.context.by_chance(watch.context.timings.start_delay_ms_max)
            step_ms = constants.START_STEP_MS * watch.rank
            self._odown_begin_ms = now_ms + step_ms + chance_ms
        if now_ms >= self._odown_begin_ms:
            self._odown_begin_ms = None
            self._begin(False, None, now_ms)

    def _begin(self, planned: bool, heir: Address | None, now_ms: float) -> None:
        watch = self._watch
        watch.tenure.cancel()
        self.planned, self._heir, self.promoted, self.forced = planned, heir, None, False
        known = watch.tenure.register
        epoch = max(watch.context.current_epoch, known.epoch if known else 0) + 1
        watch.context.raise_epoch(epoch)
        self.epoch = epoch
        self._move(Step.BEGIN, now_ms)
        self._began_ms = now_ms
        if planned and not watch.tenure.ready:
            watch.tenure.prepare(now_ms)
        watch.publish("+try-failover", watch.node)
        for node in self._asked():
            watch.ask_info_now(node, now_ms)
        if not planned:
            watch.cast_vote(epoch, watch.context.sentinel_id, now_ms)
            watch.ask_peers_now(now_ms)

    def _wait_start(self, now_ms: float) -> None:
        watch = self._watch
        context = watch.context
        votes = [election.Vote(one.vote_epoch, one.voted_for) for one in watch.sentinels.values()]
        mine = watch.vote
        won = election.winner([*votes, mine], self.epoch, watch.members_count, watch.config.quorum)
        if not self.planned and won != context.sentinel_id:
            timeout_ms = min(context.timings.election_timeout_ms, watch.config.failover_timeout_ms)
            split = election.lost(
                [*votes, mine],
                self.epoch,
                watch.members_count,
                watch.config.quorum,
                context.sentinel_id,
            )
            if split or now_ms - self._began_ms > timeout_ms:
                retry_ms = constants.RETRY_UNELECTED_MS
                self._abort("-failover-abort-not-elected", retry_ms, now_ms)
            return
        watch.publish("+elected-leader", watch.node)
        self._move(Step.ELECTED, now_ms)
        watch.publish("+failover-state-select-slave", watch.node)

    # Choosing, draining, making it true.

    def waiting(self, now_ms: float) -> str:
        """Why an objectively down leader is not being replaced at this moment, in words."""
        if now_ms < self._retry_at_ms:
            return f"waiting {int(self._retry_at_ms - now_ms)} ms before the next try"
        return "about to begin, after the sentinels that come first"

    def hopeless(self, now_ms: float) -> bool:
        """Whether no follower could be promoted now."""
        return self.choosing.hopeless(now_ms)

    def wants_info(self, node: Node, now_ms: float) -> bool:
        """Whether the next INFO of this node is waited for."""
        asked_ms = node.info_asked_ms
        waited = node is self.promoted and self.state is State.WAIT_PROMOTION
        waited = waited or (self.state is State.RECONF_SLAVES and node.kind == "slave")
        return waited and (asked_ms is None or now_ms - asked_ms >= constants.PROMOTION_INFO_MS)

    def _fresh(self, now_ms: float) -> bool:
        """Whether every follower that can has told its offset since the failover began, and, where
        writes still go on, a majority waits for our change of the register.
        """
        if now_ms - self._began_ms > constants.FRESH_INFO_MS:
            return True
        if self.planned and self._heir is None and not self._watch.tenure.ready:
            return False
        return all(
            one.info_ms is not None and one.info_ms >= self._began_ms
            for one in self._asked()
            if one.wires.connected and ("s_down" not in one.flags or "restarted" in one.flags)
        )

    def _asked(self) -> list[Node]:
        """Whose INFO counts: the followers', and a leader's that came back; the heir's alone where
        the leader has named one.
        """
        heir = self._watch.replicas.get(self._heir) if self._heir else None
        if heir is not None:
            return [heir]
        leader = self.choosing.returned_leader()
        return [*self._watch.replicas.values(), *([leader] if leader is not None else [])]

    def _select_slave(self, now_ms: float) -> None:
        watch = self._watch
        if not self._fresh(now_ms):
            return
        chosen = self.choosing.best(self._heir, now_ms, forced=self.forced)
        # An heir that took over by PSYNC FAILOVER leads already and is no candidate by its role.
        heir = watch.replicas.get(self._heir) if self._heir else None
        if heir is not None and heir.role == "master" and "s_down" not in heir.flags:
            self.promoted = heir
        elif chosen is not None and chosen is self.choosing.returned_leader():
            self._abort("-failover-abort-leader-returned", constants.RETRY_UNELECTED_MS, now_ms)
            watch.settling.name_leader(chosen, now_ms)
            return
        elif chosen is not None:
            self.promoted = chosen
        else:
            retry_ms = min(2 * watch.config.failover_timeout_ms, constants.RETRY_MS_MAX / 2)
            self._abort("-failover-abort-no-good-slave", retry_ms, now_ms)
            return
        self.promoted.flags.add("promoted")
        watch.publish("+selected-slave", self.promoted)
        leader = watch.node
        drainable = leader.lease_capable and leader.wires.usable and self.promoted.lease_capable
        if self.planned and self._heir is None and drainable and leader.role == "master":
            self._move(Step.DRAINABLE, now_ms)
            self._ask_drain()
        else:
            self._move(Step.CHOSEN, now_ms)
            self._change_register(now_ms)

    def _ask_drain(self) -> None:
        watch = self._watch
        assert self.promoted is not None
        address = self.promoted.address
        timeout_ms = min(watch.config.failover_timeout_ms, constants.ELECTION_TIMEOUT_MS)
        epoch = self.epoch
        watch.publish("+failover-state-drain", watch.node, warning=False)

        def answered(reply: RespValue, at_ms: float) -> None:
            if isinstance(reply, WireError) and self.state is State.DRAIN and self.epoch == epoch:
                self._abort("-failover-abort-drain-refused", 0, at_ms)

        args = (b"FAILOVER", b"TO", address.host.encode(), b"%d" % address.port)
        watch.context.links.send(
            watch.node.wires.link, (*args, b"TIMEOUT", b"%d" % timeout_ms), answered
        )

    def _drain(self, now_ms: float) -> None:
        watch = self._watch
        timeout_ms = min(watch.config.failover_timeout_ms, constants.ELECTION_TIMEOUT_MS)
        if now_ms - self.changed_ms > timeout_ms:
            if watch.node.wires.usable:
                watch.context.links.send(watch.node.wires.link, (b"FAILOVER", b"ABORT"))
            self._abort("-failover-abort-drain-timeout", 0, now_ms)

    def _change_register(self, now_ms: float) -> None:
        watch = self._watch
        assert self.promoted is not None
        value = RegisterValue(
            self.epoch,
            self.promoted.node_id,
            self.promoted.address,
            self.choosing.set_under(self.promoted),
            life=life_of(self.promoted.run_id),
        )
        watch.tenure.change(value, watch.config.failover_timeout_ms, now_ms)

    def register_answered(self, result: Result, now_ms: float) -> None:
        """The compare-and-set is decided."""
        if self.state is not State.REGISTER:
            return
        watch = self._watch
        if isinstance(result, Won) and result.value.epoch == self.epoch:
            self._move(Step.WON, now_ms)
            assert self.promoted is not None
            watch.publish("+failover-state-send-slaveof-noone", self.promoted, warning=False)
            self._send_slaveof_noone(now_ms)
        elif isinstance(result, LostRace) and self._still_replaces(result.current):
            # The register was only now written for the first time, or the leader got a new id.
            self._change_register(now_ms)
        elif isinstance(result, LostRace):
            self._abort("-failover-abort-register-lost", constants.RETRY_UNELECTED_MS, now_ms)
        else:
            retry_ms = constants.RETRY_UNELECTED_MS
            self._abort("-failover-abort-register-unreachable", retry_ms, now_ms)

    def _still_replaces(self, current: RegisterValue | None) -> bool:
        """Whether the leader that the register names is the one we are replacing."""
        if current is None or current.epoch >= self.epoch:
            return False
        if self.promoted is None:
            return False
        if not self.forced and not self.choosing.holds(self.promoted, current):
            return False
        return self._watch.context.same(current.address, self._watch.node.address)

    # Promoting.

    def _send_slaveof_noone(self, now_ms: float) -> None:
        watch, promoted = self._watch, self.promoted
        assert promoted is not None
        if not promoted.wires.usable:
            if now_ms - self.changed_ms > watch.config.failover_timeout_ms:
                self._abort("-failover-abort-slave-timeout", 0, now_ms)
            return
        watch.lending.tell_all(now_ms)
        if not (self.planned and promoted.lease_capable):
            watch.send_slaveof(promoted, None)
        watch.publish("+failover-state-wait-promotion", promoted, warning=False)
        self._move(Step.SENT, now_ms)
        watch.ask_info_now(promoted, now_ms)

    def _wait_promotion(self, now_ms: float) -> None:
        watch = self._watch
        if now_ms - self.changed_ms > watch.config.failover_timeout_ms:
            self._abort("-failover-abort-slave-timeout", 0, now_ms)

    def informed(self, node: Node, now_ms: float) -> None:
        """A node reported: did it take the role it was given?"""
        watch = self._watch
        if node is self.promoted and self.state is State.WAIT_PROMOTION and node.role == "master":
            watch.config_epoch = self.epoch
            watch.context.changed_later(now_ms)
            self._move(Step.PROMOTED, now_ms)
            watch.publish("+promoted-slave", node)
            watch.publish("+failover-state-reconf-slaves", watch.node)
            old = watch.node.address
            watch.context.emit(LeaderMoved(watch.config.name, "leader", "start", old, node.address))
            watch.announce(now_ms)
            watch.lending.poll_soon()
        elif self.state is State.RECONF_SLAVES and node.kind == "slave" and node.role == "slave":
            self._note_reconf(node)
        elif self.state is State.SELECT_SLAVE:
            self.tick(now_ms)

    def _note_reconf(self, node: Node) -> None:
        watch, promoted = self._watch, self.promoted
        assert promoted is not None
        if "reconf_sent" in node.flags and watch.follows(node, promoted.address):
            node.flags.discard("reconf_sent")
            node.flags.add("reconf_inprog")
            watch.publish("+slave-reconf-inprog", node, warning=False)
        if "reconf_inprog" in node.flags and node.link_up:
            node.flags.discard("reconf_inprog")
            node.flags.add("reconf_done")
            watch.publish("+slave-reconf-done", node, warning=False)

    # Re-pointing the others.

    def _reconf_slaves(self, now_ms: float) -> None:
        watch, promoted = self._watch, self.promoted
        assert promoted is not None
        others = [one for one in watch.replicas.values() if one is not promoted]
        busy = sum(bool({"reconf_sent", "reconf_inprog"} & one.flags) for one in others)
        timeout_ms = watch.context.timings.slave_reconf_timeout_ms
        for one in others:
            if "reconf_sent" in one.flags and now_ms - one.reconf_sent_ms > timeout_ms:
                watch.publish("-slave-reconf-sent-timeout", one, warning=False)
                one.flags.discard("reconf_sent")
                one.flags.add("reconf_done")
            if {"reconf_sent", "reconf_inprog", "reconf_done"} & one.flags:
                continue
            if busy < watch.config.parallel_syncs and one.wires.usable:
                self._reconf(one, promoted.address, "+slave-reconf-sent", now_ms)
                busy += 1
        self._end_if_done(others, now_ms)

    def _reconf(self, node: Node, leader: Address, channel: str, now_ms: float) -> None:
        self._watch.send_slaveof(node, leader)
        node.flags.add("reconf_sent")
        node.reconf_sent_ms = now_ms
        self._watch.publish(channel, node, warning=False)

    def _end_if_done(self, others: list[Node], now_ms: float) -> None:
        watch, promoted = self._watch, self.promoted
        assert promoted is not None
        timed_out = now_ms - self.changed_ms > watch.config.failover_timeout_ms
        if "s_down" in promoted.flags and not timed_out:
            return
        left = [one for one in others if not {"reconf_done", "s_down"} & one.flags]
        if left and not timed_out:
            return
        if timed_out:
            watch.publish("+failover-end-for-timeout", watch.node)
            for one in left:
                if "reconf_sent" not in one.flags and one.wires.usable:
                    self._reconf(one, promoted.address, "+slave-reconf-sent-be", now_ms)
        watch.publish("+failover-end", watch.node)
        self._move(Step.RECONFIGURED, now_ms)

    def _switch(self, now_ms: float) -> None:
        watch, promoted = self._watch, self.promoted
        assert promoted is not None
        old = watch.node.address
        watch.context.emit(LeaderMoved(watch.config.name, "leader", "end", old, promoted.address))
        watch.switch_to(promoted.address, "leader", now_ms)

    # Ending.

    def finished(self, now_ms: float) -> None:
        """The address was switched, by us or by somebody newer."""
        if self.state is State.UPDATE_CONFIG:
            self._move(Step.SWITCHED, now_ms)
        elif self.active:
            self._move(Step.ABORT, now_ms)
            self._watch.tenure.cancel()
        self.promoted, self._heir = None, None
        self._odown_begin_ms = self._released_begin_ms = None
        self._retry_at_ms = now_ms

    def superseded(self, epoch: int, now_ms: float) -> None:
        """A newer change was made: what is left of ours must not undo it."""
        undecided = self.state in (*_UNDECIDED, State.DRAIN)
        if self.active and (epoch > self.epoch or (undecided and epoch == self.epoch)):
            self._watch.publish("-failover-abort-superseded", self._watch.node)
            self.finished(now_ms)

    def _abort(self, channel: str, retry_ms: float, now_ms: float) -> None:
        watch = self._watch
        watch.publish(channel, watch.node)
        if self.state is State.REGISTER:
            watch.tenure.cancel()
        self._move(Step.ABORT, now_ms)
        if self.promoted is not None:
            self.promoted.flags.discard("promoted")
        self.promoted, self._heir = None, None
        self._retry_at_ms = now_ms + retry_ms + watch.context.by_chance(retry_ms)
        watch.tenure.busy_until_ms = now_ms

    def _move(self, step: Step, now_ms: float) -> None:
        self.state = after(self.state, step)
        self.changed_ms = now_ms
