"""The table of settings: name, kind, default and who may change it, in redis.conf's words.

A setting is declared once; parsing, CONFIG GET, CONFIG SET and rewriting read the declaration.
Settings that have no effect here yet are accepted and kept, so that every redis.conf loads.

Source of names, kinds, bounds and defaults: redis.conf and CONFIG GET * of redis-server 7.0.15.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from cache_server.config_kinds import (
    Addresses,
    BufferLimits,
    Choice,
    ConfigError,
    Directory,
    EventClasses,
    Flag,
    Kind,
    LeaderAddress,
    Memory,
    MemoryOrPercent,
    Number,
    Octal,
    Percentiles,
    SavePoints,
    ScoreAdjustments,
    ShutdownFlags,
    Text,
)
from cache_server.coordination import store_address

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
MB = 1024 * 1024

TITLE_VARIABLES = frozenset(
    ("title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file")
)


class Setting:
    """One row. `default` is a value, in the unit that the kind holds.

    `fixed`: only at the start. `lasting`: so as well, but it may be set to what it is, as whoever
    sets all that CONFIG GET shows does with a setting that Redis does not have. `protected`: CONFIG
    SET needs enable-protected-configs. `hidden`: shown only to who asks by name. `sensitive`: not
    to appear in a log. `deny_loading`: not while loading."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        default: Any,
        *,
        alias: str = "",
        fixed: bool = False,
        lasting: bool = False,
        protected: bool = False,
        hidden: bool = False,
        sensitive: bool = False,
        deny_loading: bool = False,
    ) -> None:
        self.name = name
        self.attribute = name.replace("-", "_")
        self.kind = kind
        self.default = default
        self.alias = alias
        self.fixed = fixed
        self.lasting = lasting
        self.protected = protected
        self.hidden = hidden
        self.sensitive = sensitive
        self.deny_loading = deny_loading


def filename_check(
    name: str, noun: str = "filename", may_be_empty: bool = False
) -> Callable[[str], None]:
    """A check that a word is a bare file name."""

    def check(word: str) -> None:
        if not word and not may_be_empty:
            raise ConfigError(f"{name} can't be empty")
        if "/" in word:
            raise ConfigError(f"{name} can't be a path, just a {noun}")

    return check


def check_title_template(word: str) -> None:
    """Only known variables, and something left to show."""
    variables = re.findall(r"\{([^{}]*)\}", word)
    rest = re.sub(r"\{[^{}]*\}", "", word)
    if not word.strip() or "{" in rest or "}" in rest or not TITLE_VARIABLES.issuperset(variables):
        raise ConfigError("template format is invalid or contains unknown variables")


def check_hostname(word: str) -> None:
    if len(word) >= 256:
        raise ConfigError("Hostnames must be less than 256 characters")
    if not re.fullmatch(r"[0-9A-Za-z.-]*", word):
        raise ConfigError("Hostnames may only contain alphanumeric characters, hyphens or dots")


class NoDefragmentation(Flag):
    """Accepted only as `no`: memory is the interpreter's."""

    def parse_word(self, word: str) -> bool:
        if super().parse_word(word):
            raise ConfigError(
                "Active defragmentation cannot be enabled: it requires a Redis server compiled "
                "with a modified Jemalloc like the one shipped by default with the Redis source "
                "distribution"
            )
        return False


SETTINGS: list[Setting] = [
    # Addresses and clients.
    Setting("io-threads-do-reads", Flag(), False, fixed=True),
    Setting("protected-mode", Flag(), True),
    Setting("aclfile", Text(), "", fixed=True),
    Setting("unixsocket", Text(nullable=True), "", fixed=True),
    Setting("bind-source-addr", Text(nullable=True), ""),
    Setting("requirepass", Text(nullable=True), "", sensitive=True),
    Setting("acl-pubsub-default", Choice("allchannels", "resetchannels"), "resetchannels"),
    Setting("port", Number(0, 65535), 6379),
    Setting("io-threads", Number(1, 128), 1, fixed=True),
    Setting("tcp-keepalive", Number(), 300),
    Setting("timeout", Number(), 0),
    Setting("tcp-backlog", Number(), 511, fixed=True),
    Setting("maxclients", Number(1, 2 * INT_MAX + 1), 10000),
    Setting("unixsocketperm", Octal(0, 0o777), 0, fixed=True),
    Setting("socket-mark-id", Number(0, 2 * INT_MAX + 1), 0, fixed=True),
    Setting("acllog-max-len", Number(0, LONG_MAX), 128),
    Setting("proto-max-bulk-len", Memory(MB), 512 * MB),
    Setting("tracking-table-max-keys", Number(0, LONG_MAX), 1000000),
    Setting("client-query-buffer-limit", Memory(MB), 1024 * MB),
    Setting("maxmemory-clients", MemoryOrPercent(-100), 0),
    Setting(
        "client-output-buffer-limit",
        BufferLimits(),
        {"normal": (0, 0, 0), "slave": (256 * MB, 64 * MB, 60), "pubsub": (32 * MB, 8 * MB, 60)},
    ),
    Setting("bind", Addresses(), ["*", "-::*"]),
    # Process and log.
    Setting("daemonize", Flag(), False, fixed=True),
    Setting("always-show-logo", Flag(), False, fixed=True),
    Setting("set-proc-title", Flag(), True, fixed=True),
    Setting("dynamic-hz", Flag(), True),
    Setting("syslog-enabled", Flag(), False, fixed=True),
    Setting("crash-log-enabled", Flag(), True),
    Setting("crash-memcheck-enabled", Flag(), True),
    Setting("use-exit-on-panic", Flag(), False, hidden=True),
    Setting("disable-thp", Flag(), True, fixed=True),
    Setting("pidfile", Text(nullable=True), "", fixed=True),
    Setting("syslog-ident", Text(), "redis", fixed=True),
    Setting("server_cpulist", Text(nullable=True), "", fixed=True),
    Setting("bio_cpulist", Text(nullable=True), "", fixed=True),
    Setting("aof_rewrite_cpulist", Text(nullable=True), "", fixed=True),
    Setting("bgsave_cpulist", Text(nullable=True), "", fixed=True),
    Setting("ignore-warnings", Text(), ""),
    Setting(
        "proc-title-template",
        Text(check=check_title_template),
        "{title} {listen-addr} {server-mode}",
    ),
    Setting("logfile", Text(), "", fixed=True),
    Setting("supervised", Choice("upstart", "systemd", "auto", "no"), "no", fixed=True),
    Setting(
        "syslog-facility",
        Choice(
            "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
        ),
        "local0",
        fixed=True,
    ),
    Setting("loglevel", Choice("debug", "verbose", "notice", "warning"), "notice"),
    Setting(
        "oom-score-adj",
        Choice("no", "yes", "relative", "absolute", synonyms={"relative": "yes"}),
        "no",
    ),
    Setting("enable-protected-configs", Choice("no", "yes", "local"), "no", fixed=True),
    Setting("enable-debug-command", Choice("no", "yes", "local"), "no", fixed=True),
    Setting("enable-module-command", Choice("no", "yes", "local"), "no", fixed=True),
    Setting("shutdown-on-sigint", ShutdownFlags(), frozenset()),
    Setting("shutdown-on-sigterm", ShutdownFlags(), frozenset()),
    Setting("databases", Number(1), 16, fixed=True),
    Setting("hz", Number(), 10),
    Setting("watchdog-period", Number(), 0, hidden=True),
    Setting("shutdown-timeout", Number(), 10),
    Setting("dir", Directory(), ".", protected=True, deny_loading=True),
    Setting("oom-score-adj-values", ScoreAdjustments(), (0, 200, 800)),
    # Snapshots and the log.
    Setting("rdbchecksum", Flag(), True, fixed=True),
    Setting("rdbcompression", Flag(), True),
    Setting("rdb-del-sync-files", Flag(), False),
    Setting("stop-writes-on-bgsave-error", Flag(), True),
    Setting("aof-rewrite-incremental-fsync", Flag(), True),
    Setting("no-appendfsync-on-rewrite", Flag(), False),
    Setting("rdb-save-incremental-fsync", Flag(), True),
    Setting("aof-load-truncated", Flag(), True),
    Setting("aof-use-rdb-preamble", Flag(), True),
    Setting("aof-timestamp-enabled", Flag(), False),
    Setting("appendonly", Flag(), False, deny_loading=True),
    Setting("aof-disable-auto-gc", Flag(), False),
    Setting(
        "dbfilename",
        Text(check=filename_check("dbfilename", may_be_empty=True)),
        "dump.rdb",
        protected=True,
    ),
    Setting(
        "appendfilename", Text(check=filename_check("appendfilename")), "appendonly.aof", fixed=True
    ),
    Setting(
        "appenddirname",
        Text(check=filename_check("appenddirname", "dirname")),
        "appendonlydir",
        fixed=True,
    ),
    Setting("appendfsync", Choice("everysec", "always", "no"), "everysec"),
    Setting("sanitize-dump-payload", Choice("no", "yes", "clients"), "no"),
    Setting("auto-aof-rewrite-percentage", Number(), 100),
    Setting("rdb-key-save-delay", Number(-INT_MAX - 1), 0, hidden=True),
    Setting("key-load-delay", Number(-INT_MAX - 1), 0, hidden=True),
    Setting("auto-aof-rewrite-min-size", Memory(), 64 * MB),
    Setting("loading-process-events-interval-bytes", Number(1024), 2 * MB, hidden=True),
    Setting("save", SavePoints(), [(3600, 1), (300, 100), (60, 10000)]),
    # Replication.
    Setting("repl-disable-tcp-nodelay", Flag(), False),
    Setting("repl-diskless-sync", Flag(), True),
    Setting("replica-lazy-flush", Flag(), False, alias="slave-lazy-flush"),
    Setting("replica-serve-stale-data", Flag(), True, alias="slave-serve-stale-data"),
    Setting("replica-read-only", Flag(), True, alias="slave-read-only"),
    Setting("replica-ignore-maxmemory", Flag(), True, alias="slave-ignore-maxmemory"),
    Setting("replica-announced", Flag(), True),
    Setting("replica-ignore-disk-write-errors", Flag(), False),
    Setting("replica-announce-ip", Text(nullable=True), "", alias="slave-announce-ip"),
    Setting("masteruser", Text(nullable=True), "", sensitive=True),
    Setting("masterauth", Text(nullable=True), "", sensitive=True),
    Setting(
        "repl-diskless-load",
        Choice("disabled", "on-empty-db", "swapdb"),
        "disabled",
        deny_loading=True,
    ),
    Setting("propagation-error-behavior", Choice("ignore", "panic", "panic-on-replicas"), "ignore"),
    Setting("replica-priority", Number(), 100, alias="slave-priority"),
    Setting("repl-diskless-sync-delay", Number(), 5),
    Setting("replica-announce-port", Number(0, 65535), 0, alias="slave-announce-port"),
    Setting("repl-timeout", Number(1), 60),
    Setting("repl-ping-replica-period", Number(1), 10, alias="repl-ping-slave-period"),
    Setting("min-replicas-to-write", Number(), 0, alias="min-slaves-to-write"),
    Setting("durability", Choice("async", "in-sync"), "async"),
    Setting(
        "coordinator",
        Text(check=store_address.check),
        store_address.EMBEDDED,
        lasting=True,
        sensitive=True,
    ),
    Setting("min-in-sync", Number(1), 2),
    Setting("in-sync-timeout", Number(10), 1000),
    Setting("linearizable-reads", Flag(), False),
    Setting("max-loss-ms", Number(), 0),
    Setting("max-loss-bytes", Memory(), 0),
    Setting("min-replicas-max-lag", Number(), 10, alias="min-slaves-max-lag"),
    Setting("repl-diskless-sync-max-replicas", Number(), 0),
    Setting("repl-backlog-size", Memory(1), MB),
    Setting("repl-backlog-ttl", Number(0, LONG_MAX), 3600),
    Setting("replication-verify-interval", Number(), 3600),
    Setting("replication-verify-budget", Number(1, 100), 5),
    Setting("replication-rollback-files", Flag(), True),
    Setting("replication-rollback-max-bytes", Memory(), 16 * 1024 * MB),
    Setting("replicaof", LeaderAddress(), None, alias="slaveof", fixed=True),
    # Memory and expiry.
    Setting("activerehashing", Flag(), True),
    Setting("lazyfree-lazy-eviction", Flag(), False),
    Setting("lazyfree-lazy-expire", Flag(), False),
    Setting("lazyfree-lazy-server-del", Flag(), False),
    Setting("lazyfree-lazy-user-del", Flag(), False),
    Setting("lazyfree-lazy-user-flush", Flag(), False),
    Setting("jemalloc-bg-thread", Flag(), True),
    Setting("activedefrag", NoDefragmentation(), False),
    Setting(
        "maxmemory-policy",
        Choice(
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "noeviction",
        ),
        "noeviction",
    ),
    Setting("active-defrag-cycle-min", Number(1, 99), 1),
    Setting("active-defrag-cycle-max", Number(1, 99), 25),
    Setting("active-defrag-threshold-lower", Number(0, 1000), 10),
    Setting("active-defrag-threshold-upper", Number(0, 1000), 100),
    Setting("lfu-log-factor", Number(), 10),
    Setting("lfu-decay-time", Number(), 1),
    Setting("maxmemory-samples", Number(1), 5),
    Setting("maxmemory-eviction-tenacity", Number(0, 100), 10),
    Setting("active-expire-effort", Number(1, 10), 1),
    Setting("active-defrag-max-scan-fields", Number(1, LONG_MAX), 1000),
    Setting("maxmemory", Memory(0, 2 * LONG_MAX + 1), 0),
    Setting("active-defrag-ignore-bytes", Memory(1), 100 * MB),
    # Encodings.
    Setting("list-max-listpack-size", Number(-INT_MAX - 1), -2, alias="list-max-ziplist-size"),
    Setting("list-compress-depth", Number(), 0),
    Setting("stream-node-max-entries", Number(0, LONG_MAX), 100),
    Setting(
        "hash-max-listpack-entries", Number(0, LONG_MAX), 512, alias="hash-max-ziplist-entries"
    ),
    Setting("set-max-intset-entries", Number(0, LONG_MAX), 512),
    Setting(
        "zset-max-listpack-entries", Number(0, LONG_MAX), 128, alias="zset-max-ziplist-entries"
    ),
    Setting("hash-max-listpack-value", Memory(), 64, alias="hash-max-ziplist-value"),
    Setting("stream-node-max-bytes", Memory(), 4096),
    Setting("zset-max-listpack-value", Memory(), 64, alias="zset-max-ziplist-value"),
    Setting("hll-sparse-max-bytes", Memory(), 3000),
    # What is observed.
    Setting("latency-tracking", Flag(), True),
    Setting("lua-enable-deprecated-api", Flag(), False, fixed=True, hidden=True),
    Setting("slowlog-max-len", Number(0, LONG_MAX), 128),
    Setting("busy-reply-threshold", Number(0, LONG_MAX), 5000, alias="lua-time-limit"),
    Setting("slowlog-log-slower-than", Number(-1, LONG_MAX), 10000),
    Setting("latency-monitor-threshold", Number(0, LONG_MAX), 0),
    Setting("notify-keyspace-events", EventClasses(), ""),
    Setting("latency-tracking-info-percentiles", Percentiles(), [50.0, 99.0, 99.9]),
    # Cluster and TLS.
    Setting("cluster-require-full-coverage", Flag(), True),
    Setting("cluster-replica-no-failover", Flag(), False, alias="cluster-slave-no-failover"),
    Setting("cluster-enabled", Flag(), False, fixed=True),
    Setting("cluster-allow-reads-when-down", Flag(), False),
    Setting("cluster-allow-pubsubshard-when-down", Flag(), True),
    Setting("cluster-allow-replica-migration", Flag(), True),
    Setting("cluster-announce-ip", Text(nullable=True), ""),
    Setting("cluster-config-file", Text(), "nodes.conf", fixed=True),
    Setting("cluster-announce-hostname", Text(nullable=True, check=check_hostname), ""),
    Setting("cluster-preferred-endpoint-type", Choice("ip", "hostname", "unknown-endpoint"), "ip"),
    Setting("cluster-replica-validity-factor", Number(), 10, alias="cluster-slave-validity-factor"),
    Setting("cluster-migration-barrier", Number(), 1),
    Setting("cluster-port", Number(0, 65535), 0, fixed=True),
    Setting("cluster-announce-bus-port", Number(0, 65535), 0),
    Setting("cluster-announce-port", Number(0, 65535), 0),
    Setting("cluster-announce-tls-port", Number(0, 65535), 0),
    Setting("cluster-node-timeout", Number(0, LONG_MAX), 15000),
    Setting("cluster-link-sendbuf-limit", Memory(0, 2 * LONG_MAX + 1), 0),
    Setting("tls-port", Number(0, 65535), 0),
    Setting("tls-session-cache-size", Number(), 20480),
    Setting("tls-session-cache-timeout", Number(), 300),
    Setting("tls-cluster", Flag(), False),
    Setting("tls-replication", Flag(), False),
    Setting("tls-auth-clients", Choice("no", "yes", "optional"), "yes"),
    Setting("tls-prefer-server-ciphers", Flag(), False),
    Setting("tls-session-caching", Flag(), True),
    Setting("tls-cert-file", Text(nullable=True), ""),
    Setting("tls-key-file", Text(nullable=True), ""),
    Setting("tls-key-file-pass", Text(nullable=True), "", sensitive=True),
    Setting("tls-client-cert-file", Text(nullable=True), ""),
    Setting("tls-client-key-file", Text(nullable=True), ""),
    Setting("tls-client-key-file-pass", Text(nullable=True), "", sensitive=True),
    Setting("tls-dh-params-file", Text(nullable=True), ""),
    Setting("tls-ca-cert-file", Text(nullable=True), ""),
    Setting("tls-ca-cert-dir", Text(nullable=True), ""),
    Setting("tls-protocols", Text(nullable=True), ""),
    Setting("tls-ciphers", Text(nullable=True), ""),
    Setting("tls-ciphersuites", Text(nullable=True), ""),
]
