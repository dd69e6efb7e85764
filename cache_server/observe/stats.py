"""Counters behind INFO stats, commandstats and errorstats. They only count; INFO reads them."""

from __future__ import annotations

from typing import Any

from cache_server.constants import ERROR_CODES_MAX
from cache_server.errors import CountedError


class Stats:
    """Counts since the start or the last CONFIG RESETSTAT."""

    def __init__(self) -> None:
        self.connections = 0
        self.rejected_connections = 0
        self.input_bytes = 0
        self.output_bytes = 0
        self.errors: dict[str, int] = {}
        self.error_replies = 0
        self.protocol_errors = 0
        self.sync_full = 0
        self.sync_partial_ok = 0
        self.sync_partial_err = 0
        self.evicted_keys = 0
        self.evicted_clients = 0
        self.output_limit_disconnections = 0
        self.memory_peak_bytes = 0
        self.forks = 0
        self.latest_fork_us = 0

    def count_error(self, error: Any) -> None:
        """Counts an error reply under its code (at most ERROR_CODES_MAX different ones)."""
        if isinstance(error, CountedError):
            return
        self.error_replies += 1
        code = error.code
        if code in self.errors or len(self.errors) < ERROR_CODES_MAX:
            self.errors[code] = self.errors.get(code, 0) + 1

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]
