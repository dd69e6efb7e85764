"""Why a failover happens, or does not, in words: what one sentinel knows of one master.

Each line is `<subject>: <what is so>`; nothing here decides anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.failover.node import Node

if TYPE_CHECKING:
    from replication.failover.watch import Watch


def explain(watch: Watch, now_ms: float) -> tuple[str, ...]:
    """All of it, a line each."""
    return (
        *_leader(watch, now_ms),
        *_agreement(watch),
        *_votes(watch),
        *_candidates(watch, now_ms),
        *_loss(watch, now_ms),
        f"state: {_state(watch, now_ms)}",
    )


def _leader(watch: Watch, now_ms: float) -> list[str]:
    node, value = watch.node, watch.tenure.register
    lines = [f"leader: {node.address}, epoch {watch.config_epoch}, {_detection(watch, now_ms)}"]
    if watch.context.coordinator:
        trouble = watch.tenure.trouble(now_ms) or "it answers"
        lines.append(f"coordinator: {watch.context.coordinator}, {trouble}")
    if value is None:
        lines.append("register: empty yet; the leader is not under a lease")
        return lines
    members = ", ".join(value.in_sync) or "not in use (durability async)"
    lines.append(f"register: epoch {value.epoch} version {value.version}, leader {value.address}")
    lines.append(f"in-sync set: {members}")
    left_ms = int(watch.tenure.lease.granted_ms(now_ms))
    if watch.tenure.stored:
        lines.append(f"lease: others may lead in {left_ms} ms, if it is not renewed in the store")
    else:
        lines.append(f"lease: this sentinel's promise lasts {left_ms} ms more")
    return lines


def _detection(watch: Watch, now_ms: float) -> str:
    node = watch.node
    if "restarted" in node.flags:
        return "restarted: its life that led is over, it waits to be named anew or to follow"
    if "s_down" not in node.flags:
        return "up"
    down_ms = int(now_ms - node.s_down_ms)
    if watch.is_gone(node, now_ms):
        return f"down for {down_ms} ms: dials are refused and no follower hears it"
    silent_ms = int(node.wires.heartbeat.silent_ms(node.wires.connected, now_ms))
    return f"down for {down_ms} ms: silent for {silent_ms} of {watch.config.down_after_ms} ms"


def _agreement(watch: Watch) -> list[str]:
    agreeing = [one.run_id for one in watch.sentinels.values() if "master_down" in one.flags]
    count = len(agreeing) + watch.is_down()
    reachable = 1 + sum(one.wires.connected for one in watch.sentinels.values())
    needed = watch.members_count // 2 + 1
    return [
        f"agreement: {count} of the quorum of {watch.config.quorum} say that it is down",
        f"sentinels: {reachable} of {watch.members_count} reachable, {needed} needed for a change",
    ]


def _votes(watch: Watch) -> list[str]:
    own = watch.vote
    cast = [f"this one for {own.sentinel_id} in {own.epoch}"] if own.epoch else []
    cast += [
        f"{one.run_id} for {one.voted_for} in {one.vote_epoch}"
        for one in watch.sentinels.values()
        if one.voted_for
    ]
    return [f"votes: {'; '.join(cast) or 'none'}"]


def _candidates(watch: Watch, now_ms: float) -> list[str]:
    lines = []
    first = True
    for node, reason in watch.drive.choosing.reasons(now_ms):
        verdict = f"not fit: {reason}"
        if not reason:
            verdict = "would lead" if first else "fit, but another comes first"
            first = False
        lines.append(
            f"candidate {node.address}: {verdict} "
            f"(priority {node.priority}, offset {node.repl_offset})"
        )
    return lines or ["candidates: none known"]


def _loss(watch: Watch, now_ms: float) -> list[str]:
    best = watch.drive.choosing.best(None, now_ms)
    if best is None:
        return ["expected loss: nobody could lead"]
    value = watch.tenure.register
    if value is not None and value.in_sync:
        return [f"expected loss: 0 ms, 0 bytes of acknowledged writes with {best.address}"]
    behind = max(0, watch.node.repl_offset - best.repl_offset)
    info_ms = watch.node.info_ms
    age_ms = int(now_ms - info_ms) if info_ms is not None else -1
    loss = f"{_lag_ms(watch.node, best)} ms, {behind} bytes with {best.address}"
    return [
        f"expected loss: {loss} (leader's INFO is {age_ms} ms old); planned, nothing is lost",
    ]


def _lag_ms(leader: Node, follower: Node) -> int:
    """What the leader last said of how far the follower is behind, in ms; 0 where it said none."""
    lines = leader.info_text.split("\r\n")
    place = f"ip={follower.address.host},port={follower.address.port},"
    number = next((one[5:].partition(":")[0] for one in lines if place in one), "")
    told = next((one for one in lines if number and one.startswith(f"cache_follower{number}:")), "")
    digits = told.rpartition("lag_ms=")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0


def _state(watch: Watch, now_ms: float) -> str:
    drive = watch.drive
    if watch.context.doubt.active:
        return "tilt: this sentinel was stopped or its clock jumped, it only listens for a while"
    if drive.active:
        return f"failover {drive.state.value} for {int(now_ms - drive.changed_ms)} ms"
    if "o_down" in watch.node.flags:
        return drive.waiting(now_ms)
    return "no failover under way"
