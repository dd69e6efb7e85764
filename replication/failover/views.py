"""From the machine's moving parts to the frozen picture in cluster_view.py."""

from __future__ import annotations

from collections.abc import Iterable

from replication.failover.cluster_view import ClusterView, MasterView, NodeView
from replication.failover.context import Context
from replication.failover.node import LinkStatus, Node
from replication.failover.promotion import State
from replication.failover.watch import Watch

_FLAG_WORDS = (
    ("s_down", "s_down"),
    ("o_down", "o_down"),
    ("disconnected", "disconnected"),
    ("master_down", "master_down"),
    ("failover", "failover_in_progress"),
    ("promoted", "promoted"),
    ("reconf_sent", "reconf_sent"),
    ("reconf_inprog", "reconf_inprog"),
    ("reconf_done", "reconf_done"),
    ("reboot", "master_reboot"),
)


def _flags(watch: Watch, node: Node) -> tuple[str, ...]:
    present = set(node.flags)
    if not node.wires.connected:
        present.add("disconnected")
    if node is watch.node and watch.drive.active:
        present.add("failover")
    words = [word for flag, word in _FLAG_WORDS if flag in present]
    down = [word for word in words if word in ("s_down", "o_down")]
    return (*down, node.kind, *(word for word in words if word not in down))


def _age(at_ms: float | None, now_ms: float) -> int:
    """-1 where the thing never happened."""
    return -1 if at_ms is None else max(0, int(now_ms - at_ms))


def node_view(watch: Watch, node: Node, now_ms: float) -> NodeView:
    """One node as reported."""
    beat, links = node.wires.heartbeat, node.wires.links()
    open_links = [link for link in links if link.status is LinkStatus.OPEN]
    return NodeView(
        kind=node.kind,
        name=watch.config.name if node is watch.node else node.name,
        address=node.address,
        run_id=node.run_id,
        flags=_flags(watch, node),
        link_pending_commands=sum(len(link.pending) for link in open_links),
        link_refcount=node.wires.shared_by,
        last_ping_sent_ms=(
            0 if beat.waiting_since_ms is None else _age(beat.waiting_since_ms, now_ms)
        ),
        last_ok_ping_reply_ms=_age(beat.last_ok_ms, now_ms),
        last_ping_reply_ms=_age(beat.last_reply_ms, now_ms),
        down_after_ms=watch.config.down_after_ms,
        s_down_ms=_age(node.s_down_ms, now_ms) if "s_down" in node.flags else -1,
        o_down_ms=_age(node.o_down_ms, now_ms) if "o_down" in node.flags else -1,
        info_refresh_ms=_age(node.info_ms, now_ms),
        role_reported=node.role,
        role_reported_ms=_age(node.role_ms, now_ms),
        master_link_down_ms=node.link_down_ms,
        master_link_status="ok" if node.link_up else "err",
        master_host=node.master_host,
        master_port=node.master_port,
        priority=node.priority,
        repl_offset=node.repl_offset,
        replica_announced=node.announced,
        last_hello_ms=_age(node.hello_ms, now_ms),
        voted_leader=node.voted_for,
        voted_leader_epoch=node.vote_epoch,
        info=node.info_text,
        node_id=node.node_id,
        lease_capable=node.lease_capable,
    )


def master_view(watch: Watch, now_ms: float) -> MasterView:
    """One monitored master."""
    usable = sum(
        not {"s_down", "o_down"} & peer.flags and peer.wires.connected
        for peer in watch.sentinels.values()
    )
    return MasterView(
        config=watch.config,
        node=node_view(watch, watch.node, now_ms),
        advertised=watch.advertised,
        config_epoch=watch.config_epoch,
        replicas=tuple(node_view(watch, one, now_ms) for one in watch.replicas.values()),
        sentinels=tuple(node_view(watch, one, now_ms) for one in watch.sentinels.values()),
        failover_state=watch.drive.state.value if watch.drive.active else State.NONE.value,
        members_count=watch.members_count,
        register=watch.tenure.register,
        lease_granted_ms=int(watch.tenure.lease.granted_ms(now_ms)),
        reachable_sentinels=usable + 1,
        coordinator=watch.context.coordinator,
        coordinator_trouble=watch.tenure.trouble(now_ms),
    )


def cluster(context: Context, watches: Iterable[Watch], now_ms: float) -> ClusterView:
    """Everything."""
    since_ms = context.doubt.since_ms
    return ClusterView(
        sentinel_id=context.sentinel_id,
        current_epoch=context.current_epoch,
        tilt=context.doubt.active,
        tilt_ms=0 if since_ms is None else int(now_ms - since_ms),
        masters=tuple(master_view(watch, now_ms) for watch in watches),
    )
