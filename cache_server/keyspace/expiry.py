"""Expiry: when a key is due, and the cycle that finds due keys that nobody asks for.

Problem: a key past its time is deleted when it is looked up, but a key that is never looked up
again would stay for ever; walking all keys stops the server. Idea, after Redis: a few times a
second a little of the volatile keys is walked, in the order of a scan, which visits all of them in
turn. As long as more than an acceptable part of what was looked at was due, there is more to gain,
and the walk goes on until its budget of time is spent.

    effort (active-expire-effort, 1..10)     1      10
    keys looked at per round                20      65
    share of the time between two cycles    25 %    43 %
    due keys thought acceptable             10 %     1 %

A fast cycle, run between two slow ones while the last was cut short or too much was due, has a
millisecond or so. Only who owns expiry runs the cycle: a follower waits for its leader's DEL, but
for the keys that its own clients wrote, and nothing is deleted while clients are paused.

Invariants: a cycle ends within its budget plus one round; a deletion is its own unit in the stream.

Source: https://redis.io/docs/latest/commands/expire/, "How Redis expires keys".
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from cache_server.keyspace.database import EXPIRE_DELETE, Database, Keyspace
from cache_server.structures.entry import Entry

KEYS_PER_ROUND = 20
FAST_CYCLE_US = 1000
SLOW_CYCLE_PERCENT = 25
ACCEPTABLE_STALE_PERCENT = 10
#: Databases looked at in one cycle, unless the last one was cut short.
DATABASES_PER_CYCLE = 16
#: The clock is read once in so many rounds.
ROUNDS_PER_CLOCK = 16


def already_past(keyspace: Keyspace, when_ms: int) -> bool:
    """Whether setting this expiry means deleting the key now.

    Not where the stream or a log decides: there the key stays, due, until it says DEL."""
    return when_ms <= keyspace.now_ms and keyspace.expire_mode == EXPIRE_DELETE


class ActiveExpiry:
    """The cycle. `clock_us` is a monotonic clock in microseconds; `finish_unit` ends a unit of the
    stream; `enabled` is DEBUG SET-ACTIVE-EXPIRE."""

    def __init__(
        self,
        keyspace: Keyspace,
        config: Any,
        clock_us: Callable[[], int],
        finish_unit: Callable[[], None],
    ) -> None:
        self.keyspace = keyspace
        self.config = config
        self.enabled = True
        self.clock_us = clock_us
        self.finish_unit = finish_unit
        #: estimated share of volatile keys that are due and still there, 0..1
        self.stale_share = 0.0
        self.cut_short = False
        self.cut_short_count = 0
        self.time_used_us = 0
        self._next_database = 0
        self._fast_started_us = 0

    def slow_cycle(self) -> None:
        """`hz` times a second."""
        effort = self.config.active_expire_effort - 1
        percent = SLOW_CYCLE_PERCENT + 2 * effort
        self._cycle(max(1, percent * 10_000 // max(1, self.config.hz)))

    def fast_cycle(self) -> None:
        """Between slow cycles, as often as the loop turns; mostly it has nothing to do."""
        effort = self.config.active_expire_effort - 1
        if not self.cut_short and self.stale_share * 100 < ACCEPTABLE_STALE_PERCENT - effort:
            return
        budget_us = FAST_CYCLE_US + FAST_CYCLE_US // 4 * effort
        now_us = self.clock_us()
        if now_us < self._fast_started_us + 2 * budget_us:
            return
        self._fast_started_us = now_us
        self._cycle(budget_us)

    def _cycle(self, budget_us: int) -> None:
        keyspace = self.keyspace
        if not self.enabled:
            return
        if keyspace.own_expiries:
            self._expire_own()
        if keyspace.expire_mode != EXPIRE_DELETE:
            return
        databases = keyspace.databases
        count = len(databases) if self.cut_short else min(DATABASES_PER_CYCLE, len(databases))
        started_us = self.clock_us()
        self.cut_short = False
        looked_at = due = 0
        for _ in range(count):
            db = databases[self._next_database % len(databases)]
            self._next_database += 1
            seen, gone = self._walk(db, started_us + budget_us)
            looked_at += seen
            due += gone
            if self.cut_short:
                break
        self.time_used_us += self.clock_us() - started_us
        share = due / looked_at if looked_at else 0.0
        self.stale_share = share * 0.05 + self.stale_share * 0.95

    def _expire_own(self) -> None:
        """Deletes due keys among those that a writable follower's clients wrote."""
        keyspace = self.keyspace
        if keyspace.expire_mode == EXPIRE_DELETE:
            keyspace.own_expiries.clear()  # a leader's walk finds them all
            return
        for index, key in list(islice(keyspace.own_expiries, KEYS_PER_ROUND * ROUNDS_PER_CLOCK)):
            db = keyspace.databases[index]
            entry: Entry = db.volatile.get(key)
            if entry is not None and entry.expire_ms >= keyspace.now_ms:
                continue
            keyspace.own_expiries.discard((index, key))
            if entry is not None:
                db.expire_now(key)

    def _walk(self, db: Database, deadline_us: int) -> tuple[int, int]:
        """Rounds over one database; how many keys were looked at, and how many were due."""
        effort = self.config.active_expire_effort - 1
        keys_per_round = KEYS_PER_ROUND + KEYS_PER_ROUND // 4 * effort
        looked_at = due = rounds = 0
        while True:
            if db.volatile.used == 0:
                db.avg_ttl_ms = 0
                break
            seen, gone = self._round(db, min(keys_per_round, db.volatile.used))
            looked_at += seen
            due += gone
            rounds += 1
            if rounds % ROUNDS_PER_CLOCK == 0 and self.clock_us() > deadline_us:
                self.cut_short = True
                self.cut_short_count += 1
                break
            if gone * 100 <= seen * (ACCEPTABLE_STALE_PERCENT - effort):
                break
        return looked_at, due

    def _round(self, db: Database, count: int) -> tuple[int, int]:
        db.expire_cursor, keys = db.volatile.scan(db.expire_cursor, count)
        now_ms = self.keyspace.now_ms
        gone = left = ttl_sum_ms = 0
        for key in keys:
            entry: Entry = db.volatile.get(key)
            if entry is None:
                continue
            if entry.expire_ms < now_ms:
                db.expire_now(key)
                self.finish_unit()
                gone += 1
            else:
                ttl_sum_ms += entry.expire_ms - now_ms
                left += 1
        if left:
            average_ms = ttl_sum_ms // left
            if db.avg_ttl_ms == 0:
                db.avg_ttl_ms = average_ms
            db.avg_ttl_ms = db.avg_ttl_ms // 50 * 49 + average_ms // 50
        return len(keys), gone
