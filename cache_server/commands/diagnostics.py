"""SLOWLOG, LATENCY, MEMORY."""

from __future__ import annotations

from typing import Any

from cache_server.commands.helping import help_row
from cache_server.commands.table import Command, container_only
from cache_server.datatypes.arguments import parse_in_range, parse_integer
from cache_server.datatypes.values import key_bytes
from cache_server.errors import CommandError, syntax_error, wrong_arity
from cache_server.observe.info import called_rows, resident_bytes
from cache_server.wire.replies import OK, Map, Verbatim

# -- SLOWLOG -----------------------------------------------------------------------------------


def slowlog_get_command(ctx: Any, args: list[bytes]) -> Any:
    """SLOWLOG GET [count]: -1 for all, 10 where it is not given."""
    count = 10
    if len(args) > 3:
        raise wrong_arity("slowlog|get")
    if len(args) == 3:
        message = b"ERR count should be greater than or equal to -1"
        count = parse_in_range(args[2], -1, 2**63 - 1, message)
    entries = list(ctx.server.slowlog.entries)
    return [entry.reply() for entry in (entries if count < 0 else entries[:count])]


def slowlog_len_command(ctx: Any, args: list[bytes]) -> int:
    """SLOWLOG LEN"""
    return len(ctx.server.slowlog.entries)


def slowlog_reset_command(ctx: Any, args: list[bytes]) -> Any:
    """SLOWLOG RESET"""
    ctx.server.slowlog.reset()
    return OK


# -- LATENCY -----------------------------------------------------------------------------------


def latency_history_command(ctx: Any, args: list[bytes]) -> Any:
    """LATENCY HISTORY event"""
    event = ctx.server.latency.events.get(args[2])
    return [] if event is None else [list(sample) for sample in event.samples]


def latency_latest_command(ctx: Any, args: list[bytes]) -> Any:
    """LATENCY LATEST"""
    return ctx.server.latency.latest()


def latency_reset_command(ctx: Any, args: list[bytes]) -> int:
    """LATENCY RESET [event ...]"""
    return int(ctx.server.latency.reset(args[2:]))


def latency_doctor_command(ctx: Any, args: list[bytes]) -> Any:
    """LATENCY DOCTOR"""
    report = ctx.server.latency.doctor(ctx.config.latency_monitor_threshold)
    return Verbatim(report.encode())


def latency_graph_command(ctx: Any, args: list[bytes]) -> Any:
    """LATENCY GRAPH event"""
    monitor = ctx.server.latency
    if args[2] not in monitor.events:
        raise CommandError(b"ERR No samples available for event '%b'" % args[2])
    return Verbatim(monitor.graph(args[2], ctx.keyspace.now_ms // 1000).encode())


def latency_histogram_command(ctx: Any, args: list[bytes]) -> Any:
    """LATENCY HISTOGRAM [command ...]: cumulative counts by powers of two of microseconds."""
    wanted = {word.lower().decode("latin-1") for word in args[2:]}
    shown: list[Any] = []
    for row in called_rows(ctx.server):
        if row.latency and (not wanted or row.full_name in wanted or row.container in wanted):
            shown += [row.full_name.encode(), _histogram(row.latency.counts())]
    return Map(shown)


def _histogram(counts: list[int]) -> Map:
    total = 0
    shown = Map()
    for index, count in enumerate(counts):
        if count:
            total += count
            shown += [1 << index, total]
    return Map([b"calls", total, b"histogram_usec", shown])


# -- MEMORY ------------------------------------------------------------------------------------


def memory_usage_command(ctx: Any, args: list[bytes]) -> int | None:
    """MEMORY USAGE key [SAMPLES count]: 0 samples are all elements."""
    samples = 5
    index = 3
    while index < len(args):
        if args[index].lower() != b"samples" or index + 1 >= len(args):
            raise syntax_error()
        samples = parse_integer(args[index + 1])
        if samples < 0:
            raise syntax_error()
        index += 2
    value = ctx.db.peek(args[2])
    return None if value is None else key_bytes(args[2], value, samples)


def memory_doctor_command(ctx: Any, args: list[bytes]) -> Any:
    """MEMORY DOCTOR"""
    used = ctx.server.used_memory_bytes()
    limit = ctx.config.maxmemory
    if limit and used > 0.9 * limit:
        return Verbatim(b"Memory in use is beyond nine tenths of maxmemory.\n")
    return Verbatim(b"No memory problem was found.\n")


def memory_stats_command(ctx: Any, args: list[bytes]) -> Any:
    """MEMORY STATS"""
    server = ctx.server
    used = server.used_memory_bytes()
    startup = server.startup_memory_bytes
    keys = len(ctx.keyspace)
    shown: list[Any] = [
        *(b"peak.allocated", max(used, server.stats.memory_peak_bytes)),
        *(b"total.allocated", used),
        *(b"startup.allocated", startup),
        *(b"replication.backlog", 0),
        *(b"clients.slaves", 0),
        *(b"clients.normal", 0),
        *(b"cluster.links", 0),
        *(b"aof.buffer", 0),
        *(b"lua.caches", 0),
        *(b"functions.caches", 0),
    ]
    for db in ctx.keyspace.databases:
        if len(db):
            # A key costs its entry in the table; an expiry one more.
            main, expires = 96 * len(db), 64 * len(db.volatile)
            figures = Map([b"overhead.hashtable.main", main])
            figures += [b"overhead.hashtable.expires", expires]
            figures += [b"overhead.hashtable.slot-to-keys", 0]
            shown += [b"db.%d" % db.index, figures]
    dataset = max(0, used - startup)
    resident = resident_bytes()
    shown += [
        *(b"overhead.total", startup),
        *(b"keys.count", keys),
        *(b"keys.bytes-per-key", dataset // keys if keys else 0),
        *(b"dataset.bytes", dataset),
        *(b"dataset.percentage", 100 * dataset / max(1, used)),
        *(b"peak.percentage", 100 * used / max(1, server.stats.memory_peak_bytes, used)),
        *(b"allocator.allocated", used),
        *(b"allocator.active", used),
        *(b"allocator.resident", resident),
        *(b"allocator-fragmentation.ratio", 1.0),
        *(b"allocator-fragmentation.bytes", 0),
        *(b"allocator-rss.ratio", resident / max(1, used)),
        *(b"allocator-rss.bytes", resident - used),
        *(b"rss-overhead.ratio", 1.0),
        *(b"rss-overhead.bytes", 0),
        *(b"fragmentation", resident / max(1, used)),
        *(b"fragmentation.bytes", resident - used),
    ]
    return Map(shown)


def memory_purge_command(ctx: Any, args: list[bytes]) -> Any:
    """MEMORY PURGE: the interpreter gives memory back by itself."""
    return OK


def memory_malloc_stats_command(ctx: Any, args: list[bytes]) -> Any:
    """MEMORY MALLOC-STATS"""
    return Verbatim(b"Stats not supported for the current allocator")


# -- rows --------------------------------------------------------------------------------------


def _row(
    name: str,
    arity: int,
    flags: str,
    handler: Any,
    since: str,
    summary: str,
    complexity: str = "O(1)",
    keys: tuple[int, int, int] = (0, 0, 0),
) -> Command:
    return Command(
        name,
        arity,
        flags,
        handler,
        keys,
        group="server",
        since=since,
        summary=summary,
        complexity=complexity,
    )


def _container(name: str, since: str, summary: str, rows: list[Command]) -> Command:
    return Command(
        name,
        -2,
        "",
        container_only,
        group="server",
        since=since,
        summary=summary,
        complexity="Depends on subcommand.",
        subcommands=rows,
    )


_LOG = "admin loading stale"
_LATENCY = "admin noscript loading stale"

_SLOWLOG_ROWS = [
    _row(
        "get",
        -2,
        _LOG,
        slowlog_get_command,
        "2.2.12",
        "Get the slow log's entries",
        "O(N) where N is the number of entries returned",
    ),
    _row("len", 2, _LOG, slowlog_len_command, "2.2.12", "Get the slow log's length"),
    _row(
        "reset",
        2,
        _LOG,
        slowlog_reset_command,
        "2.2.12",
        "Clear all entries from the slow log",
        "O(N) where N is the number of entries in the slowlog",
    ),
    help_row(
        "SLOWLOG",
        "GET [<count>]",
        "    Return the newest entries (10 by default, -1 for all): number, time, microseconds,",
        "    arguments, client's address and name.",
        "LEN",
        "    Return how many entries there are.",
        "RESET",
        "    Forget all entries.",
        group="server",
        since="6.2.0",
    ),
]

_LATENCY_ROWS = [
    _row(
        "doctor",
        2,
        _LATENCY,
        latency_doctor_command,
        "2.8.13",
        "Return a human readable latency analysis report.",
    ),
    _row(
        "graph",
        3,
        _LATENCY,
        latency_graph_command,
        "2.8.13",
        "Return a latency graph for the event.",
    ),
    _row(
        "histogram",
        -2,
        _LATENCY,
        latency_histogram_command,
        "7.0.0",
        "Return the cumulative distribution of latencies of a subset of commands or all.",
        "O(N) where N is the number of commands with latency information being retrieved.",
    ),
    _row(
        "history",
        3,
        _LATENCY,
        latency_history_command,
        "2.8.13",
        "Return timestamp-latency samples for the event.",
    ),
    _row(
        "latest",
        2,
        _LATENCY,
        latency_latest_command,
        "2.8.13",
        "Return the latest latency samples for all events.",
    ),
    _row(
        "reset",
        -2,
        _LATENCY,
        latency_reset_command,
        "2.8.13",
        "Reset latency data for one or more events.",
    ),
    help_row(
        "LATENCY",
        "DOCTOR",
        "    Return a report about what made the server slow.",
        "GRAPH <event>",
        "    Return the event's samples drawn in characters.",
        "HISTOGRAM [<command> ...]",
        "    Return how long calls of the commands took.",
        "HISTORY <event>",
        "    Return the event's samples.",
        "LATEST",
        "    Return the latest sample of each event.",
        "RESET [<event> ...]",
        "    Forget the samples of the events, or of all.",
        group="server",
        since="2.8.13",
    ),
]

_MEMORY_ROWS = [
    _row("doctor", 2, "", memory_doctor_command, "4.0.0", "Outputs memory problems report"),
    _row(
        "malloc-stats",
        2,
        "",
        memory_malloc_stats_command,
        "4.0.0",
        "Show allocator internal stats",
        "Depends on how much memory is allocated, could be slow",
    ),
    _row(
        "purge",
        2,
        "",
        memory_purge_command,
        "4.0.0",
        "Ask the allocator to release memory",
        "Depends on how much memory is allocated, could be slow",
    ),
    _row("stats", 2, "", memory_stats_command, "4.0.0", "Show memory usage details"),
    _row(
        "usage",
        -3,
        "readonly",
        memory_usage_command,
        "4.0.0",
        "Estimate the memory usage of a key",
        "O(N) where N is the number of samples.",
        (2, 2, 1),
    ),
    help_row(
        "MEMORY",
        "DOCTOR",
        "    Return a report about memory problems.",
        "MALLOC-STATS",
        "    Return what the allocator knows.",
        "PURGE",
        "    Ask the allocator to give memory back.",
        "STATS",
        "    Return what memory is used for.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return what a key and its value cost in bytes, estimated from <count> elements.",
        group="server",
        since="4.0.0",
    ),
]

COMMANDS = [
    _container("slowlog", "2.2.12", "A container for slow log commands", _SLOWLOG_ROWS),
    _container("latency", "2.8.13", "A container for latency diagnostics commands", _LATENCY_ROWS),
    _container("memory", "4.0.0", "A container for memory diagnostics commands", _MEMORY_ROWS),
]
