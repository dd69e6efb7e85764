"""Lazy freeing: what was dropped at once is given back to the allocator bit by bit.

Freeing a table of millions of keys stops the loop for seconds. FLUSHALL ASYNC hands the old tables
over instead, and a few buckets are freed in every turn. (A thread would not help: freeing needs the
interpreter's lock.) A table that a snapshot is still walking is left to the snapshot.

A long value that UNLINK dropped is freed in a later turn as well, but whole.

Invariant: `pending` is the number of keys and values that are still held here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cache_server.structures.table import Table

#: Freed in one turn at least, in keys; then the budget decides.
_KEYS_PER_CLOCK = 256
_BUDGET_US = 1000


class LazyFree:
    """Tables and values to be freed. `call_soon` and `clock_us` as for eviction."""

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], Any], clock_us: Callable[[], int]
    ) -> None:
        self.pending = 0
        self.freed = 0
        self._tables: list[Table] = []
        self._values: list[Any] = []
        self._call_soon = call_soon
        self._clock_us = clock_us

    def take(self, table: Table) -> None:
        """Frees the table's keys later. The caller drops the table itself."""
        if not table.used or table.frozen:
            return
        self._begin()
        self._tables.append(table)
        self.pending += table.used

    def take_value(self, value: Any) -> None:
        """Frees a value later. The caller drops it."""
        self._begin()
        self._values.append(value)
        self.pending += 1

    def _begin(self) -> None:
        if not self._tables and not self._values:
            self._call_soon(self._turn)

    def _turn(self) -> None:
        deadline_us = self._clock_us() + _BUDGET_US
        while self._values:
            self._values.pop()
            self.pending -= 1
            self.freed += 1
            if self._clock_us() > deadline_us and (self._values or self._tables):
                self._call_soon(self._turn)
                return
        count = 0
        while self._tables:
            count += self._free_bucket(self._tables[-1])
            if count >= _KEYS_PER_CLOCK:
                count = 0
                if self._clock_us() > deadline_us:
                    self._call_soon(self._turn)
                    break

    def _free_bucket(self, table: Table) -> int:
        keys = table.bucket_keys(table.bucket_count() - 1)
        for key in keys:
            table.discard(key)
        self.pending -= len(keys)
        self.freed += len(keys)
        if not table.used:
            self._tables.pop()
        return len(keys) + 1
