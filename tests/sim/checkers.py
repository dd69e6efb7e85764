"""What must hold at every instant, and what must come true in the end. Each is small on purpose."""

from __future__ import annotations

from replication.failover.cluster_view import Address, SentinelState
from tests.sim.data_node import DataNode
from tests.sim.sentinel_node import SentinelNode


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

    def acknowledged(self, node: DataNode, entry: int) -> None:
        """`node` acknowledges a write now. A stopped process counts as what it would do on
        waking.
        """
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
        self._leaders: dict[int, str] = {}
        self._epochs: dict[tuple[str, int], tuple[int, int]] = {}

    def note(self, who: str, epoch: int, leader: str) -> None:
        """Somebody knows this."""
        known = self._leaders.setdefault(epoch, leader)
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

    def role_told(self, node: DataNode) -> None:
        """A data node learnt its epoch."""
        state = node.disk_lease
        if state.leader_id:
            self.note(node.name, state.epoch, state.leader_id)


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
    """In-sync: an acknowledged write is in the log of whoever leads later, as long as one of those
    that had it lives on and was a member when that reign began.
    """

    def __init__(self, nodes: list[DataNode]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._holders: dict[int, tuple[tuple[str, int], ...]] = {}
        self._reign: tuple[str, int, int] | None = None
        self._sets: dict[tuple[int, int], tuple[str, ...]] = {}

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
        """Nothing that could have survived is missing in its log."""
        present = set(leader.log)
        epoch = leader.lease.state.epoch
        before = max((place for place in self._sets if place[0] < epoch), default=None)
        members = self._sets[before] if before is not None else ()
        for entry, holders in self._holders.items():
            if entry in present:
                continue
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


def nothing_lost_by_hand(heir: DataNode, log: list[int]) -> None:
    """Planned: the heir begins with all that the leader had."""
    missing = set(log) - set(heir.log)
    if missing:
        raise ViolationError("handover lost a write", f"{heir.name} leads without {min(missing)}")


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
        if node.log != leader.log:
            return f"{node.name} has another log than {leader.name}"
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
