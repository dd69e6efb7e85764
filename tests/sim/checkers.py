"""What must hold at every instant, and what must come true in the end. Each is small on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from replication.failover.cluster_view import Address, SentinelState
from tests.linearizability import Operation, violations
from tests.sim.options import Options
from tests.sim.replication import as_command

if TYPE_CHECKING:
    from tests.sim.data_node import DataNode
    from tests.sim.sentinel_node import SentinelNode
    from tests.sim.world import Process


class ViolationError(Exception):
    """A rule was broken: `kind` is its name."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class OneWriter:
    """At any instant at most one node would acknowledge a write; acknowledging epochs never
    fall.
    """

    def __init__(self, nodes: list[DataNode]) -> None:
        self._nodes = nodes
        self._epoch = 0

    def look(self) -> None:
        """A look at all nodes. A stopped process counts as what it would do on waking."""
        able = [one.name for one in self._nodes if one.alive and one.can_acknowledge()]
        if len(able) > 1:
            raise ViolationError("two writers", f"{' and '.join(able)} would acknowledge a write")

    def acknowledged(self, node: DataNode, entry: int) -> None:
        """`node` acknowledges a write now."""
        for other in self._nodes:
            if other is not node and other.alive and other.can_acknowledge():
                raise ViolationError(
                    "two writers", f"{node.name} acknowledges {entry} while {other.name} would too"
                )
        epoch = node.lease.state.epoch
        if epoch < self._epoch:
            raise ViolationError(
                "epochs rise", f"{node.name} acknowledges in {epoch} after {self._epoch}"
            )
        self._epoch = epoch


class OneLeaderPerEpoch:
    """Whoever knows an epoch's leader knows the same one; what a sentinel knows never goes back."""

    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}
        self._epochs: dict[tuple[str, int], tuple[int, int]] = {}

    def note(self, who: str, epoch: int, leader: str) -> None:
        """Somebody knows this."""
        known = self.leaders.setdefault(epoch, leader)
        if known != leader:
            raise ViolationError(
                "one leader per epoch", f"{who} knows {leader} as leader of {epoch}, not {known}"
            )

    def persisted(self, sentinel: SentinelNode, state: SentinelState) -> None:
        """A sentinel's whole state, whenever it changes."""
        master = state.masters[0]
        if master.register is not None:
            self.note(sentinel.name, master.register.epoch, master.register.leader_id)
        told = (state.current_epoch, master.config_epoch)
        before = self._epochs.get((sentinel.name, sentinel.life), (0, 0))
        if told[0] < before[0] or told[1] < before[1]:
            raise ViolationError("epochs rise", f"{sentinel.name} went from {before} to {told}")
        self._epochs[sentinel.name, sentinel.life] = told


class OneVotePerEpoch:
    """A sentinel tells one vote per epoch, for ever."""

    def __init__(self) -> None:
        self._votes: dict[tuple[str, int], bytes] = {}

    def voted(self, sentinel: SentinelNode, candidate: bytes, epoch: int) -> None:
        """A vote was told."""
        known = self._votes.setdefault((sentinel.name, epoch), candidate)
        if known != candidate:
            raise ViolationError(
                "one vote per epoch",
                f"{sentinel.name} votes for {candidate.decode()} in {epoch} after {known.decode()}",
            )


class Survival:
    """In-sync: an acknowledged write is in the data of whoever leads later, as long as one of those
    that had it lives on and was a member when that reign began.
    """

    def __init__(self, nodes: list[DataNode]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._holders: dict[int, tuple[tuple[str, int], ...]] = {}
        self._reign: tuple[str, int, int] | None = None
        self._sets: dict[tuple[int, int], tuple[str, ...]] = {}
        #: Whether all copies of an acknowledged write are gone, which nothing can prevent.
        self.all_copies_gone = False

    def persisted(self, state: SentinelState) -> None:
        """A sentinel's whole state: the values of the register are collected."""
        value = state.masters[0].register
        if value is not None:
            self._sets[value.place] = value.in_sync

    def acknowledged(self, node: DataNode, entry: int) -> None:
        """`node` acknowledges a write now."""
        members = node.in_sync.confirmed
        self._holders[entry] = tuple(
            (one.name, one.life) for one in self._nodes.values() if one.member in members
        )
        reign = (node.name, node.life, node.lease.state.epoch)
        if reign != self._reign:
            self._reign = reign
            self.check(node)

    def check(self, leader: DataNode) -> None:
        """Nothing that could have survived is missing in its data."""
        present = leader.replication.entries()
        epoch = leader.lease.state.epoch
        before = max((place for place in self._sets if place[0] < epoch), default=None)
        members = self._sets[before] if before is not None else ()
        for entry, holders in self._holders.items():
            if entry in present:
                continue
            self.all_copies_gone = True
            alive = [
                name
                for name, life in holders
                if self._nodes[name].alive
                and self._nodes[name].life == life
                and (self._nodes[name].member in members or name == leader.name)
            ]
            if alive:
                raise ViolationError(
                    "in-sync write lost", f"{leader.name} leads without {entry}, which {alive} had"
                )


class LossWithinBound:
    """Async: of what a leader acknowledged and no follower ever had, not more is lost with it than
    `max-loss-ms` and `max-loss-bytes` allow, and what one turn of its loop wrote.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        #: entry -> (leader's reign, when written by the leader's clock)
        self._written: dict[int, tuple[tuple[str, int, int], float]] = {}
        self._acknowledged: set[int] = set()
        self.copied: set[int] = set()
        """Entries that are or were in the data of a node that did not write them."""
        self._reign: tuple[str, int, int] | None = None

    def written(self, node: DataNode, entry: int) -> None:
        """`node` executed a write."""
        reign = (node.name, node.life, node.lease.state.epoch)
        self._written[entry] = (reign, node.clock())

    def acknowledged(self, node: DataNode, entry: int) -> None:
        """`node` acknowledges a write now."""
        reign = (node.name, node.life, node.lease.state.epoch)
        if reign != self._reign:
            self._reign = reign
            self._check(node.replication.entries())
        self._acknowledged.add(entry)

    def _check(self, present: set[int]) -> None:
        lost: dict[tuple[str, int, int], list[int]] = {}
        for entry in sorted(self._acknowledged - present):
            if entry not in self.copied:
                lost.setdefault(self._written[entry][0], []).append(entry)
        self._acknowledged &= present
        for reign, entries in lost.items():
            self._check_reign(reign, entries)

    def _check_reign(self, reign: tuple[str, int, int], entries: list[int]) -> None:
        options = self._options
        times = [self._written[entry][1] for entry in entries]
        span_ms = max(times) - min(times)
        if options.max_loss_ms and span_ms > options.max_loss_ms:
            raise ViolationError(
                "more lost than max-loss-ms",
                f"{entries}, acknowledged by {reign[0]}, span {span_ms:.0f} ms",
            )
        sizes = [len(as_command(entry)) for entry in entries]
        if options.max_loss_bytes and sum(sizes) > options.max_loss_bytes + max(sizes):
            raise ViolationError(
                "more lost than max-loss-bytes",
                f"{entries}, acknowledged by {reign[0]}, take {sum(sizes)} bytes",
            )


class SameHistory:
    """At one position of one history all nodes have the same data, and data of a later reign is
    never replaced by that of a leader of an earlier one.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], int] = {}
        self._epochs: dict[int, int] = {}

    def written(self, node: DataNode, entry: int) -> None:
        """`node` executed a write under its epoch."""
        self._epochs[entry] = node.lease.state.epoch

    def reached(self, node: DataNode) -> None:
        """Stream and data of a node are at a new position."""
        replication = node.replication
        place = (replication.leader.history.replid, replication.follower.position)
        known = self._seen.setdefault(place, replication.content)
        if known != replication.content:
            raise ViolationError(
                "same position, same data",
                f"{node.name} has other data than others had at {place[1]} of {place[0][:8]}",
            )

    def replaces(self, node: DataNode, leader: DataNode) -> None:
        """`node` takes a leader's data in place of its own, or of a part of it."""
        newest = max((self._epochs[entry] for entry in node.replication.entries()), default=0)
        if leader.lease.state.epoch < newest:
            raise ViolationError(
                "data of an earlier reign",
                f"{node.name} has writes of epoch {newest} and takes the data of {leader.name}, "
                f"which knows of epoch {leader.lease.state.epoch}",
            )


class Handover:
    """Planned: the heir begins with all that the leader had."""

    def __init__(self) -> None:
        self._had: dict[Address, set[int]] = {}

    def hands_over(self, node: DataNode, heir: Address) -> None:
        """The leader's data is final."""
        self._had[heir] = node.replication.entries()

    def takes_over(self, heir: DataNode) -> None:
        """The heir leads from here on."""
        missing = self._had.get(heir.address, set()) - heir.replication.entries()
        if missing:
            raise ViolationError(
                "handover lost a write", f"{heir.name} leads without {min(missing)}"
            )


class Checkers:
    """All of them, told of what happens."""

    def __init__(self, options: Options, nodes: list[DataNode]) -> None:
        self._options = options
        self._voted = OneVotePerEpoch()
        self._writer = OneWriter(nodes)
        self._handover = Handover()
        self._same = SameHistory()
        self.leaders = OneLeaderPerEpoch()
        self.survival = Survival(nodes)
        self.loss = LossWithinBound(options)
        self.writes = 0
        self.rewinds = 0
        self.copied = self.loss.copied
        self.look = self._writer.look
        self.voted = self._voted.voted
        self.hands_over = self._handover.hands_over
        self.takes_over = self._handover.takes_over
        self.reached = self._same.reached

    def acknowledged(self, node: DataNode, entry: int) -> None:
        """`node` acknowledges a write now."""
        self.writes += 1
        self._writer.acknowledged(node, entry)
        if self._options.in_sync:
            self.survival.acknowledged(node, entry)
        else:
            self.loss.acknowledged(node, entry)

    def written(self, node: DataNode, entry: int) -> None:
        """`node` executed a write."""
        self._same.written(node, entry)
        self.loss.written(node, entry)

    def replaces(self, node: DataNode, data: list[list[int]], leader: Process) -> None:
        """`node` takes a leader's data in place of its own."""
        self._same.replaces(node, leader)  # type: ignore[arg-type]
        self.copied.update(*data)

    def goes_back(self, node: DataNode, leader: Process) -> None:
        """`node` goes back to where a leader's history left its own."""
        self._same.replaces(node, leader)  # type: ignore[arg-type]

    def rewound(self, node: DataNode, before: set[int]) -> None:
        """`node` has gone back to a fork: what it had before and gave up is in a rollback file."""
        self.rewinds += 1
        lost = before - node.replication.entries() - node.disk.rollback
        if lost:
            raise ViolationError(
                "discarded and not put aside", f"{node.name} gave up {sorted(lost)} in its rewind"
            )

    def persisted(self, sentinel: SentinelNode, state: SentinelState) -> None:
        """A sentinel's whole state, whenever it changes."""
        self.leaders.persisted(sentinel, state)
        self.survival.persisted(state)

    def role_told(self, node: DataNode) -> None:
        """A data node learnt its epoch."""
        state = node.disk.lease
        if state.leader_id:
            self.leaders.note(node.name, state.epoch, state.leader_id)


def linearizable(operations: Sequence[Operation]) -> None:
    """In-sync with linearizable reads: what clients saw fits one order, key by key."""
    wrong = violations(operations)
    if wrong:
        raise ViolationError("linearizability", wrong[0])


def unsettled(nodes: list[DataNode], sentinels: list[SentinelNode]) -> str:
    """Why the cluster has not converged yet; "" once it has."""
    leaders = [node for node in nodes if node.follows is None]
    if len(leaders) != 1:
        return f"leaders: {[node.name for node in leaders]}"
    leader = leaders[0]
    if not leader.can_acknowledge():
        return f"{leader.name} leads without a lease"
    for node in nodes:
        if node is not leader and (node.follows != leader.address or not node.link_up):
            return f"{node.name} does not follow {leader.name}"
        if node.replication.data != leader.replication.data:
            return f"{node.name} has other data than {leader.name}"
    for sentinel in sentinels:
        view = sentinel.machine.view(sentinel.clock()).masters[0]
        seen: Address = view.node.address
        if seen != leader.address:
            return f"{sentinel.name} takes {seen} for the leader, not {leader.address}"
        if view.failover_state != "none" or "s_down" in view.node.flags:
            return f"{sentinel.name} is not calm: {view.failover_state} {view.node.flags}"
        if view.register is None or view.register.leader_id != leader.lease.state.node_id:
            return f"{sentinel.name} has not learnt the register: {view.register}"
    return ""
