"""The configuration as the machines want it: in their units, and with Redis's relations kept."""

from __future__ import annotations

from typing import Any

#: Settings that count from the moment they are changed.
COUNT_AT_ONCE = (
    "masterauth",
    "masteruser",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "repl-backlog-size",
    "repl-backlog-ttl",
    "repl-diskless-sync",
    "repl-diskless-sync-delay",
    "repl-diskless-sync-max-replicas",
    "repl-ping-replica-period",
    "repl-timeout",
    "replica-announce-ip",
    "replica-announce-port",
    "replica-read-only",
    "replica-serve-stale-data",
    "replication-verify-budget",
    "replication-verify-interval",
)


def read_settings(replicator: Any, *, logged: bool) -> None:
    """Gives the replicator's machines what the configuration says now. `logged`: whether the
    append log takes the stream."""
    config, leader, sameness = replicator.server.config, replicator.leader, replicator.sameness
    settings, backlog = leader.settings, leader.backlog
    settings.backlog_size_bytes = config.repl_backlog_size
    if backlog.size_bytes != config.repl_backlog_size:
        backlog.resize(config.repl_backlog_size)
    # The log is of one stream, which does not end because nobody follows.
    settings.backlog_ttl_ms = 0 if logged else config.repl_backlog_ttl * 1000
    settings.ping_period_ms = config.repl_ping_replica_period * 1000
    settings.timeout_ms = config.repl_timeout * 1000
    hard, soft, seconds = config.client_output_buffer_limit["slave"]
    # The backlog is kept anyway, so a limit below it is no limit (as in Redis).
    settings.output_limit_hard_bytes = max(hard, backlog.size_bytes) if hard else 0
    settings.output_limit_soft_bytes = max(soft, backlog.size_bytes) if soft else 0
    settings.output_limit_soft_ms = seconds * 1000
    settings.min_followers = config.min_replicas_to_write
    settings.min_followers_lag_max_ms = config.min_replicas_max_lag * 1000
    settings.diskless = config.repl_diskless_sync
    settings.diskless_delay_ms = config.repl_diskless_sync_delay * 1000
    settings.diskless_followers_max = config.repl_diskless_sync_max_replicas
    sameness.interval_ms = config.replication_verify_interval * 1000
    sameness.budget_percent = config.replication_verify_budget
    following = replicator.follower.settings
    own_port = (config.tls_replication and config.tls_port) or config.port
    following.listening_port = config.replica_announce_port or own_port
    following.announce_ip = config.replica_announce_ip
    following.user = config.masteruser.encode("utf-8", "surrogateescape")
    following.password = config.masterauth.encode("utf-8", "surrogateescape")
    following.timeout_ms = config.repl_timeout * 1000


__all__ = ["COUNT_AT_ONCE", "read_settings"]
