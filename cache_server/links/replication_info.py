"""INFO replication: Redis's fields under Redis's names, and ours behind them.

Ours begin with `cache_`: lag at the leader's own clock, and what the checks of frames have found.
Source: https://redis.io/docs/latest/commands/info/.
"""

from __future__ import annotations

from typing import Any

from cache_server.links.sync_progress import received_fields, sent_fields, sent_percent
from replication.leader import INFO_STATES
from replication.progress import Progress, ProgressState

Fields = list[tuple[str, object]]


def replication_fields(server: Any) -> Fields:
    """The section's pairs of field and value."""
    replication = server.replication
    fields: Fields = [("role", "master" if replication.leading else "slave")]
    if not replication.leading:
        fields += _following(server)
    return fields + _serving(server) + _history(server) + _ours(server)


def _following(server: Any) -> Fields:
    replication, config = server.replication, server.config
    follower = replication.follower
    linked = follower.connected or follower.syncing
    heard_s = replication.lag_seconds(follower.heard_ms) if linked else -1
    fields: Fields = [
        ("master_host", follower.host),
        ("master_port", follower.port),
        ("master_link_status", "up" if follower.connected else "down"),
        ("master_last_io_seconds_ago", heard_s if follower.connected else -1),
        ("master_sync_in_progress", int(follower.syncing)),
        ("slave_read_repl_offset", follower.received_position),
        ("slave_repl_offset", follower.position),
    ]
    if follower.snapshot is not None:
        fields += _receiving(follower.snapshot, heard_s)
    if not follower.connected:
        down_ms = follower.down_since_ms
        down_s = -1 if down_ms is None else replication.lag_seconds(down_ms)
        fields.append(("master_link_down_since_seconds", down_s))
    return [
        *fields,
        # Keys of another history: nobody is to promote it.
        ("slave_priority", 0 if follower.rewind.active else config.replica_priority),
        ("slave_read_only", int(config.replica_read_only)),
        ("replica_announced", int(config.replica_announced)),
    ]


def _receiving(snapshot: Any, heard_s: int) -> Fields:
    total, read = snapshot.total_bytes, snapshot.received_bytes
    known = total is not None and total > 0
    return [
        ("master_sync_total_bytes", total if total is not None else -1),
        ("master_sync_read_bytes", read),
        ("master_sync_left_bytes", total - read if total is not None else -1),
        ("master_sync_perc", f"{100 * read / total:.2f}" if known else "0.00"),
        ("master_sync_last_io_seconds_ago", heard_s),
    ]


def _serving(server: Any) -> Fields:
    replication, config = server.replication, server.config
    # A peer that only fetches a snapshot is not a follower that anyone could fail over to.
    attached = [p for p in replication.leader.attached if not p.snapshot_only]
    fields: Fields = [("connected_slaves", len(attached))]
    if config.min_replicas_to_write and config.min_replicas_max_lag:
        fields.append(("min_slaves_good_slaves", replication.good_followers()))
    for number, progress in enumerate(attached):
        fields.append((f"slave{number}", _follower_line(replication, progress)))
    fields.append(("master_failover_state", replication.leader.handover.state.value))
    return fields


def _follower_line(replication: Any, progress: Progress) -> str:
    lag_s = replication.lag_seconds(progress.heard_ms) if progress.online else 0
    state = INFO_STATES[progress.state]
    if progress.sync is not None and not progress.sync.transferring:
        state = INFO_STATES[ProgressState.WAITING]
    return (
        f"ip={progress.host},port={progress.listening_port},state={state}"
        f",offset={progress.acked_position},lag={lag_s}"
    )


def _history(server: Any) -> Fields:
    leader = server.replication.leader
    history, backlog = leader.history, leader.backlog
    active = backlog.active
    return [
        ("master_replid", history.replid),
        ("master_replid2", history.replid2),
        ("master_repl_offset", server.replication.follower.position),
        ("second_repl_offset", history.second_repl_offset),
        ("repl_backlog_active", int(active)),
        ("repl_backlog_size", server.config.repl_backlog_size),
        ("repl_backlog_first_byte_offset", backlog.start + 1 if active else 0),
        ("repl_backlog_histlen", len(backlog) if active else 0),
    ]


def _ours(server: Any) -> Fields:
    replication = server.replication
    leader, follower = replication.leader, replication.follower
    fields: Fields = [
        ("cache_epoch", leader.history.epoch),
        ("cache_history_checksum", f"{leader.backlog.checksum:016x}"),
        ("cache_frames_rejected", follower.stats.frames_rejected),
        ("cache_frames_repaired", follower.stats.frames_repaired),
        ("cache_bytes_repaired", follower.stats.bytes_repaired),
        ("cache_resends", leader.stats.resends),
        ("cache_bytes_resent", leader.stats.bytes_resent),
        ("cache_frames_damaged_in_backlog", leader.stats.frames_damaged),
        (
            "cache_histories_diverged",
            leader.stats.histories_diverged + follower.stats.histories_diverged,
        ),
        *_verification(replication.sameness),
        *replication.rewinding.info_fields(),
        *server.lease.info_lines().items(),
        *server.durability.info_lines().items(),
    ]
    if not replication.leading:
        fields.append(("cache_link_framed", int(follower.framed)))
        fields.append(("cache_lag_ms", replication.applied_lag_ms()))
        fields.append(("cache_lag_bytes", follower.received_position - follower.position))
        fields += received_fields(replication)
    fields += sent_fields(replication)
    for number, progress in enumerate(p for p in leader.attached if not p.snapshot_only):
        fields.append((f"cache_follower{number}", _checked_line(replication, progress)))
    return fields


def _verification(sameness: Any) -> Fields:
    last = sameness.last
    return [
        ("cache_verify_state", sameness.phase.value),
        ("cache_verify_passes", sameness.passes),
        ("cache_verify_passes_differing", sameness.passes_differing),
        ("cache_verify_keys_repaired", sameness.keys_repaired),
        ("cache_verify_last_offset", last.position),
        ("cache_verify_last_bytes_sent", last.bytes_sent),
        ("cache_verify_alarm", int(not last.same)),
    ]


def _checked_line(replication: Any, progress: Progress) -> str:
    line = (
        f"framed={int(progress.framed)},lag_bytes={replication.lag_bytes(progress)}"
        f",lag_ms={replication.lag_ms(progress)}"
    )
    if progress.sync is not None:
        line += f",sync_bytes={progress.snapshot_sent_bytes}"
        line += f",sync_percent={sent_percent(progress):.1f}"
    return line
