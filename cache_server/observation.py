"""What the server knows about itself: the slow log, the latency monitor, rates, INFO.

The dispatcher reports a command only when it took longer than the lower of two thresholds, that of
the slow log and that of the latency monitor: `slow_ns` is that lower one.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.monitors import redacted
from cache_server.commands.table import FAST, SKIP_SLOWLOG
from cache_server.observe.info import Info
from cache_server.observe.latency import LatencyMonitor
from cache_server.observe.rates import Rate
from cache_server.observe.slowlog import SlowLog

#: Time between two samples of the rates, in ms.
_SAMPLE_MS = 100


class Observation:
    """A part of the server; also sets `server.slowlog`, `.latency`, `.rates`."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.config = server.config
        self.info = Info()
        self.info.put("persistence", lambda server: server.persistence.info_lines())
        server.slowlog = SlowLog(self.config.slowlog_max_len)
        server.latency = LatencyMonitor()
        server.rates = {name: Rate() for name in ("operations", "input", "output")}
        server.startup_memory_bytes = server.used_memory_bytes()
        self._sampled_ms = 0
        self.config.on_change["slowlog-max-len"] = server.slowlog.trim
        for name in ("slowlog-log-slower-than", "latency-monitor-threshold"):
            self.config.on_change[name] = self._thresholds_changed
        self.config.on_change["latency-tracking"] = self._tracking_changed
        self._thresholds_changed()
        self._tracking_changed(self.config.latency_tracking)

    async def start(self) -> None:
        """Nothing to be started."""

    async def stop(self) -> None:
        """Nothing to be stopped."""

    def cron(self, now_ms: int) -> None:
        """Samples the rates."""
        if now_ms - self._sampled_ms < _SAMPLE_MS:
            return
        self._sampled_ms = now_ms
        server = self.server
        server.rates["operations"].sample(now_ms, server.dispatcher.total_calls)
        server.rates["input"].sample(now_ms, self.input_bytes())
        server.rates["output"].sample(now_ms, self.output_bytes())

    def input_bytes(self) -> int:
        """Bytes ever read from clients."""
        channels = (client.channel for client in self.server.clients.values())
        return int(self.server.stats.input_bytes + sum(each.received_bytes for each in channels))

    def output_bytes(self) -> int:
        """Bytes ever written to clients."""
        channels = (client.channel for client in self.server.clients.values())
        return int(self.server.stats.output_bytes + sum(each.sent_bytes for each in channels))

    def command_was_slow(self, client: Any, cmd: Any, args: list[bytes], spent_ns: int) -> None:
        """Enters a command where its time passes a threshold."""
        now_ms = self.server.keyspace.now_ms
        limit_us = self.config.slowlog_log_slower_than
        if 0 <= limit_us <= spent_ns // 1000 and not cmd.flags & SKIP_SLOWLOG:
            peer, name = client.peer, client.name
            self.server.slowlog.add(now_ms, spent_ns // 1000, redacted(args), peer, name)
        threshold_ms = self.config.latency_monitor_threshold
        if threshold_ms and spent_ns >= threshold_ms * 1_000_000:
            event = b"fast-command" if cmd.flags & FAST else b"command"
            self.server.latency.add(event, now_ms // 1000, spent_ns // 1_000_000)

    def add_latency(self, event: bytes, spent_ms: int) -> None:
        """Tells the latency monitor of work that is no command."""
        threshold_ms = self.config.latency_monitor_threshold
        if threshold_ms and spent_ms >= threshold_ms:
            self.server.latency.add(event, self.server.keyspace.now_ms // 1000, spent_ms)

    def reset(self) -> None:
        """CONFIG RESETSTAT."""
        server = self.server
        server.stats.reset()
        for client in server.clients.values():
            client.channel.received_bytes = client.channel.sent_bytes = 0
        keyspace = server.keyspace
        keyspace.hits = keyspace.misses = keyspace.expired_keys = 0
        self.server.dispatcher.total_calls = self.server.dispatcher.total_reads = 0
        for row in server.dispatcher.commands.values():
            for each in (row, *(row.subcommands or {}).values()):
                each.calls = each.microseconds = each.rejected = each.failed = 0
                each.latency = None
        server.rates.update({name: Rate() for name in server.rates})

    def _thresholds_changed(self, _: object = None) -> None:
        limits_ns = []
        if self.config.slowlog_log_slower_than >= 0:
            limits_ns.append(self.config.slowlog_log_slower_than * 1000)
        if self.config.latency_monitor_threshold:
            limits_ns.append(self.config.latency_monitor_threshold * 1_000_000)
        self.server.dispatcher.slow_ns = min([*limits_ns, 2**62] if limits_ns else [-1])

    def _tracking_changed(self, wanted: bool) -> None:
        self.server.dispatcher.latency_tracking = wanted
