"""INFO: sections of `field:value` lines, each built by a function of the server.

A part that knows its section better replaces it: `server.info.put("replication", build)`. A builder
returns pairs of field and value, or ready lines.

Source: https://redis.io/docs/latest/commands/info/; the fields are those of redis-server 7.0.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable
from typing import Any

from cache_server import __version__
from cache_server.constants import REDIS_VERSION

Fields = list[tuple[str, object]]
Builder = Callable[[Any], Iterable[tuple[str, object] | str]]

#: Sections that only INFO ALL, EVERYTHING or their own name show.
_NOT_DEFAULT = ("commandstats", "latencystats")
_PAGE_BYTES = resource.getpagesize()


class Info:
    """The sections in the order in which they are shown."""

    def __init__(self) -> None:
        self.sections: dict[str, tuple[str, Builder]] = {
            "server": ("Server", server_fields),
            "clients": ("Clients", client_fields),
            "memory": ("Memory", memory_fields),
            "persistence": ("Persistence", lambda _: [("loading", 0), ("async_loading", 0)]),
            "stats": ("Stats", stats_fields),
            "replication": ("Replication", lambda _: [("role", "master"), ("connected_slaves", 0)]),
            "cpu": ("CPU", cpu_fields),
            "modules": ("Modules", lambda _: []),
            "commandstats": ("Commandstats", command_fields),
            "errorstats": ("Errorstats", error_fields),
            "latencystats": ("Latencystats", latency_fields),
            "cluster": ("Cluster", lambda _: [("cluster_enabled", 0)]),
            "keyspace": ("Keyspace", keyspace_fields),
        }

    def put(self, name: str, build: Builder) -> None:
        """Replaces the builder of a section."""
        self.sections[name] = (self.sections[name][0], build)

    def text(self, server: Any, words: Iterable[str]) -> str:
        """The sections named, each once; the default ones where none is named."""
        chosen: dict[str, None] = {}
        for word in list(words) or ["default"]:
            if word in ("all", "everything"):
                chosen.update(dict.fromkeys(self.sections))
            elif word == "default":
                names = [name for name in self.sections if name not in _NOT_DEFAULT]
                chosen.update(dict.fromkeys(names))
            elif word in self.sections:
                chosen[word] = None
        parts = []
        for name, (title, build) in self.sections.items():
            if name in chosen:
                lines = [f"# {title}", *map(_line, build(server))]
                parts.append("".join(line + "\r\n" for line in lines))
        return "\r\n".join(parts)


def _line(field: tuple[str, object] | str) -> str:
    return field if isinstance(field, str) else f"{field[0]}:{field[1]}"


def human_bytes(count: int) -> str:
    """As used_memory_human: 941088 is 919.03K."""
    if count < 1024:
        return f"{count}B"
    size, unit = float(count), ""
    for letter in "KMGTP":
        if size < 1024:
            break
        size /= 1024
        unit = letter
    return f"{size:.2f}{unit}"


def server_fields(server: Any) -> Fields:
    config, now_ms = server.config, server.now_ms()
    uptime_s = max(0, now_ms - server.started_ms) // 1000
    system = platform.uname()
    return [
        ("redis_version", REDIS_VERSION),
        ("redis_git_sha1", "00000000"),
        ("redis_git_dirty", 0),
        ("redis_build_id", "0"),
        ("redis_mode", "standalone"),
        ("os", f"{system.system} {system.release} {system.machine}"),
        ("arch_bits", 64),
        ("monotonic_clock", "POSIX clock_gettime"),
        ("multiplexing_api", "epoll"),
        ("atomicvar_api", "c11-builtin"),
        ("gcc_version", "0.0.0"),
        ("process_id", os.getpid()),
        ("process_supervised", "no"),
        ("run_id", server.run_id),
        ("tcp_port", config.port or config.tls_port),
        ("server_time_usec", server.now_us()),
        ("uptime_in_seconds", uptime_s),
        ("uptime_in_days", uptime_s // 86400),
        ("hz", config.hz),
        ("configured_hz", config.hz),
        ("lru_clock", now_ms // 1000 & 0xFFFFFF),
        ("executable", os.path.abspath(sys.argv[0])),
        ("config_file", config.file),
        ("io_threads_active", 0),
        *_shutdown_fields(server),
        ("cache_server_version", __version__),
        ("cache_server_core", server.core_name),
    ]


def _shutdown_fields(server: Any) -> Fields:
    deadline_ms = server.shutdown.deadline_ms
    if not deadline_ms:
        return []
    return [("shutdown_in_milliseconds", max(0, deadline_ms - server.now_ms()))]


def client_fields(server: Any) -> Fields:
    clients = server.clients.values()
    blocked = len(server.blocking) + len(server.pauses.waiting) + len(server.shutdown.waiting)
    largest_input = max((client.channel.reader.capacity_bytes for client in clients), default=0)
    largest_output = max((client.connection.output_bytes for client in clients), default=0)
    return [
        ("connected_clients", len(clients) - server.follower_count()),
        ("cluster_connections", 0),
        ("maxclients", server.config.maxclients),
        ("client_recent_max_input_buffer", largest_input),
        ("client_recent_max_output_buffer", largest_output),
        ("blocked_clients", blocked),
        ("tracking_clients", len(server.tracking.clients)),
        ("clients_in_timeout_table", server.blocking.timed),
    ]


def _script_fields(counts: dict[str, int]) -> Fields:
    human = {"used_memory_lua", "used_memory_vm_total", "used_memory_scripts"}
    fields: Fields = []
    for name, count in counts.items():
        fields.append((name, count))
        if name in human:
            fields.append((name + "_human", human_bytes(count)))
    return fields


def resident_bytes() -> int:
    """The process's resident memory."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES


def memory_fields(server: Any) -> Fields:
    config = server.config
    used, resident = server.used_memory_bytes(), resident_bytes()
    peak = server.stats.memory_peak_bytes = max(server.stats.memory_peak_bytes, used)
    overhead = server.startup_memory_bytes
    dataset = max(0, used - overhead)
    buffers = server.replication.buffer_bytes()
    beyond = server.replication.buffer_bytes_beyond_backlog()
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    clients = server.admission.memory_by_class()
    return [
        ("used_memory", used),
        ("used_memory_human", human_bytes(used)),
        ("used_memory_rss", resident),
        ("used_memory_rss_human", human_bytes(resident)),
        ("used_memory_peak", peak),
        ("used_memory_peak_human", human_bytes(peak)),
        ("used_memory_peak_perc", f"{100 * used / max(1, peak):.2f}%"),
        ("used_memory_overhead", overhead),
        ("used_memory_startup", server.startup_memory_bytes),
        ("used_memory_dataset", dataset),
        ("used_memory_dataset_perc", f"{100 * dataset / max(1, used):.2f}%"),
        ("allocator_allocated", used),
        ("allocator_active", used),
        ("allocator_resident", resident),
        ("total_system_memory", total),
        ("total_system_memory_human", human_bytes(total)),
        *_script_fields(server.scripting.info_fields()),
        ("maxmemory", config.maxmemory),
        ("maxmemory_human", human_bytes(config.maxmemory)),
        ("maxmemory_policy", config.maxmemory_policy),
        ("allocator_frag_ratio", "1.00"),
        ("allocator_frag_bytes", 0),
        ("allocator_rss_ratio", f"{resident / max(1, used):.2f}"),
        ("allocator_rss_bytes", resident - used),
        ("rss_overhead_ratio", "1.00"),
        ("rss_overhead_bytes", 0),
        ("mem_fragmentation_ratio", f"{resident / max(1, used):.2f}"),
        ("mem_fragmentation_bytes", resident - used),
        ("mem_not_counted_for_evict", server.memory_not_counted_bytes()),
        ("mem_replication_backlog", buffers - beyond),
        ("mem_total_replication_buffers", buffers),
        ("mem_clients_slaves", beyond + clients["slave"]),
        ("mem_clients_normal", clients["normal"] + clients["pubsub"]),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", 0),
        ("mem_allocator", "libc"),
        ("active_defrag_running", 0),
        ("lazyfree_pending_objects", server.upkeep.lazy_free.pending),
        ("lazyfreed_objects", server.upkeep.lazy_free.freed),
    ]


def stats_fields(server: Any) -> Fields:
    stats, keyspace, hub = server.stats, server.keyspace, server.pubsub
    rates, expiry = server.rates, server.upkeep.expiry
    return [
        ("total_connections_received", stats.connections),
        ("total_commands_processed", server.dispatcher.total_calls),
        ("instantaneous_ops_per_sec", round(rates["operations"].per_second)),
        ("total_net_input_bytes", server.observation.input_bytes()),
        ("total_net_output_bytes", server.observation.output_bytes()),
        ("total_net_repl_input_bytes", 0),
        ("total_net_repl_output_bytes", 0),
        ("instantaneous_input_kbps", f"{rates['input'].per_second / 1024:.2f}"),
        ("instantaneous_output_kbps", f"{rates['output'].per_second / 1024:.2f}"),
        ("instantaneous_input_repl_kbps", "0.00"),
        ("instantaneous_output_repl_kbps", "0.00"),
        ("rejected_connections", stats.rejected_connections),
        ("sync_full", stats.sync_full),
        ("sync_partial_ok", stats.sync_partial_ok),
        ("sync_partial_err", stats.sync_partial_err),
        ("expired_keys", keyspace.expired_keys),
        ("expired_stale_perc", f"{expiry.stale_share * 100:.2f}"),
        ("expired_time_cap_reached_count", expiry.cut_short_count),
        ("expire_cycle_cpu_milliseconds", expiry.time_used_us // 1000),
        ("evicted_keys", stats.evicted_keys),
        ("evicted_clients", stats.evicted_clients),
        ("total_eviction_exceeded_time", 0),
        ("current_eviction_exceeded_time", 0),
        ("keyspace_hits", keyspace.hits),
        ("keyspace_misses", keyspace.misses),
        ("pubsub_channels", len(hub.channels)),
        ("pubsub_patterns", len(hub.patterns)),
        ("pubsubshard_channels", len(hub.shards)),
        ("latest_fork_usec", stats.latest_fork_us),
        ("total_forks", stats.forks),
        ("migrate_cached_sockets", len(server.migrations.kept)),
        ("slave_expires_tracked_keys", len(keyspace.own_expiries)),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        ("tracking_total_keys", len(server.tracking.table)),
        ("tracking_total_items", server.tracking.items),
        ("tracking_total_prefixes", len(server.tracking.prefixes)),
        ("unexpected_error_replies", 0),
        ("total_error_replies", stats.error_replies),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", server.dispatcher.total_reads),
        ("total_writes_processed", 0),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
        ("reply_buffer_shrinks", 0),
        ("reply_buffer_expands", 0),
    ]


def cpu_fields(_: Any) -> Fields:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return [
        ("used_cpu_sys", f"{own.ru_stime:.6f}"),
        ("used_cpu_user", f"{own.ru_utime:.6f}"),
        ("used_cpu_sys_children", f"{children.ru_stime:.6f}"),
        ("used_cpu_user_children", f"{children.ru_utime:.6f}"),
        ("used_cpu_sys_main_thread", f"{own.ru_stime:.6f}"),
        ("used_cpu_user_main_thread", f"{own.ru_utime:.6f}"),
    ]


def called_rows(server: Any) -> list[Any]:
    """Rows that were ever called or refused, those of subcommands among them."""
    rows: list[Any] = []
    for row in server.dispatcher.commands.values():
        rows.append(row)
        rows.extend((row.subcommands or {}).values())
    return [row for row in rows if row.calls or row.rejected or row.failed]


def command_fields(server: Any) -> Fields:
    return [
        (
            f"cmdstat_{row.full_name}",
            (
                f"calls={row.calls},usec={row.microseconds},"
                f"usec_per_call={row.microseconds / max(1, row.calls):.2f},"
                f"rejected_calls={row.rejected},failed_calls={row.failed}"
            ),
        )
        for row in called_rows(server)
    ]


def error_fields(server: Any) -> Fields:
    errors = sorted(server.stats.errors.items())
    return [(f"errorstat_{code}", f"count={count}") for code, count in errors]


def percentile_us(counts: list[int], percent: float) -> float:
    """The bound of the bucket that holds the percentile; `counts[n]` is of up to 2**n us."""
    wanted = max(1.0, percent / 100 * sum(counts))
    seen = 0
    for index, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return float(1 << index)
    return 0.0


def latency_fields(server: Any) -> Fields:
    fields: Fields = []
    for row in called_rows(server):
        if row.latency:
            shown = ",".join(
                f"p{percent:g}={percentile_us(row.latency.counts(), percent):.3f}"
                for percent in server.config.latency_tracking_info_percentiles
            )
            fields.append((f"latency_percentiles_usec_{row.full_name}", shown))
    return fields


def keyspace_fields(server: Any) -> Fields:
    return [
        (
            f"db{db.index}",
            f"keys={len(db)},expires={len(db.volatile)},avg_ttl={int(db.avg_ttl_ms)}",
        )
        for db in server.keyspace.databases
        if len(db)
    ]
