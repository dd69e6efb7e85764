"""Who shall lead next, as one sentinel sees its nodes: membership first, then `ranking`.

Where an in-sync set is in use, only its members may lead: each of them has every acknowledged
write. A member is one life of a node. If a member may still be alive, nobody else is chosen. Once
every member's node has come back in a later life, no better copy will ever appear, and whoever has
the most history leads.

A leader that restarted is a candidate like the others: it leads again where no follower has more of
the history than it brought back from its disk, so an empty leader never leads nodes that are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.failover import ranking
from replication.failover.cluster_view import Address, RegisterValue, member_id, node_of
from replication.failover.node import Node

if TYPE_CHECKING:
    from replication.failover.watch import Watch


class Choosing:
    """Of one monitored master."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    # Membership.

    def _lives(self) -> dict[str, str]:
        """Node id -> the life of it that is known."""
        watch = self._watch
        nodes = (watch.node, *watch.replicas.values())
        return {one.node_id: member_id(one.node_id, one.run_id) for one in nodes if one.node_id}

    def _in_sync(self) -> tuple[str, ...]:
        value = self._watch.tenure.register
        return value.in_sync if value is not None else ()

    def all_lives_over(self) -> bool:
        """Whether every member's node is back in a later life (or there is no set)."""
        lives = self._lives()
        return all(lives.get(node_of(one), one) != one for one in self._in_sync())

    def may_lead(self, node: Node, in_sync: tuple[str, ...]) -> bool:
        """Whether the in-sync set lets this node lead."""
        if not in_sync or member_id(node.node_id, node.run_id) in in_sync:
            return True
        return self.all_lives_over()

    def set_under(self, promoted: Node) -> tuple[str, ...]:
        """The in-sync set that the new epoch begins with: the members that are not down, since who
        stays has every acknowledged write. The last but one copy is not given up: it may come back.
        """
        watch, old = self._watch, self._in_sync()
        if not old:
            return ()
        first = member_id(promoted.node_id, promoted.run_id)
        others = [
            member_id(one.node_id, one.run_id)
            for one in (watch.node, *watch.replicas.values())
            if one is not promoted and not {"s_down", "o_down"} & one.flags
        ]
        staying = {first, *(one for one in others if one in old)}
        if len(staying) == 1 and not self.all_lives_over():
            staying |= set(old)
        return tuple(sorted(staying))

    # Candidates.

    def _candidate(self, node: Node, now_ms: float, *, forced: bool) -> ranking.Candidate:
        in_sync = self._in_sync()
        member = member_id(node.node_id, node.run_id) in in_sync
        return ranking.Candidate(
            address=node.address,
            run_id=node.run_id,
            priority=node.priority,
            repl_offset=node.repl_offset,
            down="s_down" in node.flags or node.role != "slave",
            connected=node.wires.connected,
            answer_age_ms=now_ms - node.wires.heartbeat.last_ok_ms,
            info_age_ms=now_ms - node.info_ms if node.info_ms is not None else 1e18,
            link_down_ms=0 if member else node.link_down_ms,  # a member has all there is
            node_id=node.node_id,
            in_sync=forced or self.may_lead(node, in_sync),
        )

    def _situation(self, now_ms: float) -> ranking.Situation:
        watch = self._watch
        down = bool({"s_down", "restarted"} & watch.node.flags)
        return ranking.Situation(
            leader_down=down,
            leader_down_for_ms=self._leader_gone_ms(now_ms),
            down_after_ms=watch.config.down_after_ms,
            ping_period_ms=watch.context.timings.ping_period_ms,
            info_period_ms=watch.context.timings.info_period_ms,
        )

    def _leader_gone_ms(self, now_ms: float) -> float:
        """How long followers have had nobody to follow: since the leader's last answer (a sentinel
        in TILT calls it down much later), or since it came back without its history.
        """
        node = self._watch.node
        since_ms = now_ms
        if node.s_down_ms:
            since_ms = min(node.s_down_ms, node.wires.heartbeat.last_ok_ms)
        if "restarted" in node.flags:
            since_ms = min(since_ms, node.restarted_ms)
        return now_ms - since_ms

    def returned_leader(self) -> Node | None:
        """The leader, back in a later life, where we can talk to it."""
        node = self._watch.lending.leader_node()
        if node is None or "restarted" not in node.flags or not node.wires.usable:
            return None
        return node if node.info_ms is not None else None

    def best(self, heir: Address | None, now_ms: float, *, forced: bool = False) -> Node | None:
        """The node to promote; the returned leader itself where nobody has more; None: nobody."""
        watch = self._watch
        found = [
            self._candidate(one, now_ms, forced=forced)
            for one in watch.replicas.values()
            if "restarted" not in one.flags
        ]
        situation = self._situation(now_ms)
        preferred = [one for one in found if one.address == heir]
        chosen = ranking.best(preferred, situation) or ranking.best(found, situation)
        follower = watch.replicas[chosen.address] if chosen is not None else None
        leader = self.returned_leader()
        if leader is None or not (forced or self.may_lead(leader, self._in_sync())):
            return follower
        if follower is None or leader.repl_offset >= follower.repl_offset:
            return leader
        return follower

    def hopeless(self, now_ms: float) -> bool:
        """Whether no follower could be promoted now."""
        found = [
            self._candidate(one, now_ms, forced=False) for one in self._watch.replicas.values()
        ]
        return ranking.best(found, self._situation(now_ms)) is None

    def reasons(self, now_ms: float) -> list[tuple[Node, str]]:
        """Each follower with why it could not be promoted now, "" where it could; best first."""
        watch, situation = self._watch, self._situation(now_ms)
        found = []
        for one in watch.replicas.values():
            candidate = self._candidate(one, now_ms, forced=False)
            found.append((one, candidate, ranking.unfit(candidate, situation)))
        found.sort(key=lambda row: (bool(row[2]), *ranking.order(row[1])))
        return [(node, reason) for node, _, reason in found]

    def holds(self, promoted: Node, current: RegisterValue | None) -> bool:
        """Whether a node chosen under an older value of the register may still lead."""
        return current is None or self.may_lead(promoted, current.in_sync)
