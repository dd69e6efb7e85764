"""What is known, in the words and order of SENTINEL MASTERS, REPLICAS and SENTINELS.

A field a client may look for has Redis's name, place and unit; those of ours (lease, register) come
after all of Redis's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cache_server.wire.replies import Map
from replication.failover.cluster_view import ClusterView, MasterView, NodeView

#: How an address's host is told to clients: the name, or the IP it resolves to.
ShowHost = Callable[[str], str]

_REDIS_FLAGS = {"failover": "failover_in_progress", "script_kill": "script_kill_sent"}


def instance(node: NodeView, show: ShowHost, master: MasterView | None = None) -> Map:
    """One node as a flat list of fields; `master` where it is the master's own."""
    # Some clients look for the leader here: they are told where it is, also before the others
    # follow it. A stock node is named as Redis does.
    moved = master is not None and master.register is not None and master.register.leader_id
    address = master.advertised if master is not None and moved else node.address
    fields: list[tuple[str, object]] = [
        ("name", node.name),
        ("ip", show(address.host)),
        ("port", address.port),
        ("runid", node.run_id),
        ("flags", ",".join(_REDIS_FLAGS.get(flag, flag) for flag in node.flags)),
        ("link-pending-commands", node.link_pending_commands),
        ("link-refcount", node.link_refcount),
    ]
    if master is not None and master.failover_state != "none":
        fields.append(("failover-state", master.failover_state))
    fields += _times(node)
    if node.kind != "sentinel":
        fields += [
            ("info-refresh", max(0, node.info_refresh_ms)),
            ("role-reported", node.role_reported or node.kind),
            ("role-reported-time", max(0, node.role_reported_ms)),
        ]
    if master is not None:
        fields += _master_fields(master)
    elif node.kind == "slave":
        fields += _replica_fields(node)
    else:
        fields += _sentinel_fields(node)
    reply = Map()
    for name, value in fields:
        reply += [name.encode(), str(value).encode("utf-8", "surrogateescape")]
    return reply


def _times(node: NodeView) -> Iterator[tuple[str, object]]:
    yield "last-ping-sent", node.last_ping_sent_ms
    yield "last-ok-ping-reply", node.last_ok_ping_reply_ms
    yield "last-ping-reply", node.last_ping_reply_ms
    if node.s_down_ms >= 0:
        yield "s-down-time", node.s_down_ms
    if node.o_down_ms >= 0:
        yield "o-down-time", node.o_down_ms
    yield "down-after-milliseconds", node.down_after_ms


def _master_fields(master: MasterView) -> Iterator[tuple[str, object]]:
    config, register = master.config, master.register
    yield "config-epoch", master.config_epoch
    yield "num-slaves", len(master.replicas)
    yield "num-other-sentinels", len(master.sentinels)
    yield "quorum", config.quorum
    yield "failover-timeout", config.failover_timeout_ms
    yield "parallel-syncs", config.parallel_syncs
    yield "members", master.members_count
    yield "lease-capable", int(master.node.lease_capable)
    yield "lease-granted", master.lease_granted_ms
    yield "register-epoch", register.epoch if register is not None else -1
    yield "coordinator", master.coordinator or "embedded"
    yield "coordinator-status", master.coordinator_trouble or "ok"


def _replica_fields(node: NodeView) -> Iterator[tuple[str, object]]:
    yield "master-link-down-time", node.master_link_down_ms
    yield "master-link-status", node.master_link_status or "err"
    yield "master-host", node.master_host
    yield "master-port", node.master_port
    yield "slave-priority", node.priority
    yield "slave-repl-offset", node.repl_offset
    yield "replica-announced", int(node.replica_announced)


def _sentinel_fields(node: NodeView) -> Iterator[tuple[str, object]]:
    yield "last-hello-message", max(0, node.last_hello_ms)
    yield "voted-leader", node.voted_leader or "?"
    yield "voted-leader-epoch", node.voted_leader_epoch


def quorum_problem(master: MasterView) -> str:
    """What CKQUORUM finds wrong, in Redis's words; "" where nothing is."""
    usable, problems = master.reachable_sentinels, []
    if usable < master.config.quorum:
        problems.append(
            "Not enough available Sentinels to reach the specified quorum for this master"
        )
    if usable < master.members_count // 2 + 1:
        problems.append(
            "Not enough available Sentinels to reach the majority and authorize a failover"
        )
    return ". ".join(problems)


def status(master: MasterView) -> str:
    """ok, sdown or odown, as INFO has it."""
    if "o_down" in master.node.flags:
        return "odown"
    return "sdown" if "s_down" in master.node.flags else "ok"


def info_lines(
    view: ClusterView, show: ShowHost, running: int, queued: int, simulations: int
) -> list[str]:
    """INFO's section `sentinel`."""
    lines = [
        f"sentinel_masters:{len(view.masters)}",
        f"sentinel_tilt:{int(view.tilt)}",
        f"sentinel_tilt_since_seconds:{view.tilt_ms // 1000 if view.tilt else -1}",
        f"sentinel_running_scripts:{running}",
        f"sentinel_scripts_queue_length:{queued}",
        f"sentinel_simulate_failure_flags:{simulations}",
    ]
    for index, master in enumerate(view.masters):
        address = master.node.address
        lines.append(
            f"master{index}:name={master.config.name},status={status(master)},"
            f"address={show(address.host)}:{address.port},slaves={len(master.replicas)},"
            f"sentinels={len(master.sentinels) + 1}"
        )
    return lines
