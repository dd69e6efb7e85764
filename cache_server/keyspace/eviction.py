"""Eviction: what is deleted when maxmemory is reached, and who is refused when nothing may be.

Problem: the key that was used least, or least recently, is known only by looking at all of them.
Idea, after Redis: look at a few (maxmemory-samples) at random and keep the best sixteen candidates
seen so far in a pool; the best of the pool is nearly the best of all.

Access stamps. Under the LRU policies an entry's stamp is the time of its last access in Unix ms.
Under the LFU policies it is a pair in 24 bits: the minute (16 bits, so it wraps after 45 days) when
the counter was last looked at, and a counter of 8 bits that grows with the logarithm of the
accesses and falls by one every lfu-decay-time minutes.

    | minute mod 65536 : 16 | counter : 8 |          a stamp of 2**24 or more is a time in ms

A stamp left by the other family of policies is recognized by its size and read as an old access.

Eviction runs before a command, within a budget of time (maxmemory-eviction-tenacity); what
remains is done in the turns of the loop that follow, while commands are let in.

Invariants: the pool is sorted by score, the best last, and has at most EVICTION_POOL_SIZE
candidates; a candidate is only a hint: it is looked up again before it is deleted.

Source: https://redis.io/docs/latest/develop/reference/eviction/.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from random import Random
from typing import Any

from cache_server.keyspace.database import (
    EXPIRE_DELETE,
    NOTIFY_EVICTED,
    Database,
    Keyspace,
)
from cache_server.structures.entry import Entry
from cache_server.structures.table import Table

EVICTION_POOL_SIZE = 16
#: Counter of a new key: high enough to live until it had a chance to be used.
LFU_INITIAL = 5
_LFU_STAMP_END = 1 << 24
_MINUTE_MS = 60_000
#: After so many deletions the time is looked at.
_KEYS_PER_CLOCK = 16


def lfu_stamp(counter: int, now_ms: int) -> int:
    """The stamp for a counter that is up to date."""
    return (now_ms // _MINUTE_MS & 0xFFFF) << 8 | counter


def lfu_counter(stamp: int, now_ms: int, decay_minutes: int) -> int:
    """The counter after its decay, 0..255. `decay_minutes` 0: none."""
    if stamp >= _LFU_STAMP_END:
        return LFU_INITIAL
    counter = stamp & 0xFF
    if decay_minutes == 0:
        return counter
    minutes = (now_ms // _MINUTE_MS - (stamp >> 8)) & 0xFFFF
    return max(0, counter - minutes // decay_minutes)


def lfu_incremented(counter: int, log_factor: int, rng: Random) -> int:
    """The counter after one more access: the higher it is, the less likely it grows."""
    if counter == 255:
        return 255
    base = max(0, counter - LFU_INITIAL)
    return counter + (rng.random() < 1.0 / (base * log_factor + 1))


def idle_ms(stamp: int, now_ms: int) -> int:
    """Time since the last access."""
    if stamp >= _LFU_STAMP_END:
        return max(0, now_ms - stamp)
    return ((now_ms // _MINUTE_MS - (stamp >> 8)) & 0xFFFF) * _MINUTE_MS


def time_budget_us(tenacity: int) -> float:
    """How long one run may take: 50 µs per step up to 10, then 15 % more per step; 100: no end."""
    if tenacity <= 10:
        return 50.0 * tenacity
    if tenacity < 100:
        return 500.0 * 1.15 ** (tenacity - 10)
    return float("inf")


class Eviction:
    """Keeps what is used below maxmemory, as the policy says.

    used_bytes()          what counts against maxmemory
    clock_us()            a monotonic clock in microseconds
    evicted(db, key)      counts and propagates a deletion, as a unit of its own
    call_soon(function)   runs it in the next turn of the loop
    """

    def __init__(
        self,
        keyspace: Keyspace,
        config: Any,
        used_bytes: Callable[[], int],
        clock_us: Callable[[], int],
        evicted: Callable[[Database, bytes], None],
        call_soon: Callable[[Callable[[], None]], Any],
    ) -> None:
        self.keyspace = keyspace
        self.config = config
        self.used_bytes = used_bytes
        self.clock_us = clock_us
        self.evicted = evicted
        self.call_soon = call_soon
        self.pool: list[tuple[int, int, bytes]] = []
        self.continuing = False
        self._freed_bytes = 0
        self._next_database = 0
        keyspace.on_lfu_access = self.lfu_accessed
        self.policy_changed()

    def policy_changed(self) -> None:
        """maxmemory-policy was set."""
        self.keyspace.lfu = self.config.maxmemory_policy.endswith("-lfu")
        self.pool.clear()

    def lfu_accessed(self, stamp: int) -> int:
        """The stamp after an access; `stamp` -1 for a new key."""
        now_ms = self.keyspace.now_ms
        if stamp < 0:
            return lfu_stamp(LFU_INITIAL, now_ms)
        config = self.config
        counter = lfu_counter(stamp, now_ms, config.lfu_decay_time)
        counter = lfu_incremented(counter, config.lfu_log_factor, self.keyspace.rng)
        return lfu_stamp(counter, now_ms)

    # -- making room ---------------------------------------------------------------------------

    def make_room(self) -> bool:
        """Deletes keys until enough is free, the budget is spent, or nothing may be deleted.

        False only in the last case: a command that needs memory is to be refused then."""
        if self.keyspace.expire_mode != EXPIRE_DELETE:
            return True  # the stream decides what is deleted, or the data is to stay as it is
        config = self.config
        excess = self.used_bytes() - config.maxmemory
        if excess <= 0:
            return True
        if config.maxmemory_policy == "noeviction":
            return False
        started_us = self.clock_us()
        budget_us = time_budget_us(config.maxmemory_eviction_tenacity)
        count, goal, self._freed_bytes = 0, excess, 0
        # What telling others of the deletions costs is not made room for, or it would never end.
        while excess > 0 and self._freed_bytes < goal:
            if not self._evict_one():
                return self.used_bytes() <= int(config.maxmemory)
            count += 1
            excess = self.used_bytes() - config.maxmemory
            if count % _KEYS_PER_CLOCK == 0 and self.clock_us() - started_us > budget_us:
                self._continue_soon()
                break
        return True

    def _continue_soon(self) -> None:
        if not self.continuing:
            self.continuing = True
            self.call_soon(self._continue)

    def _continue(self) -> None:
        self.continuing = False
        if self.config.maxmemory:
            self.make_room()

    def _evict_one(self) -> bool:
        """Deletes the best key; False where the policy finds none."""
        found = self._choose()
        if found is None:
            return False
        db, key = found
        used = self.used_bytes()
        db.delete(key)
        # The name itself is held until all are told.
        self._freed_bytes += used - self.used_bytes() + len(key)
        db.touched(key)
        db.notify(NOTIFY_EVICTED, b"evicted", key)
        self.evicted(db, key)
        return True

    # -- choosing ------------------------------------------------------------------------------

    def _choose(self) -> tuple[Database, bytes] | None:
        policy = self.config.maxmemory_policy
        if policy.endswith("-random"):
            return self._choose_at_random(volatile=policy.startswith("volatile"))
        return self._choose_best(policy)

    def _choose_at_random(self, volatile: bool) -> tuple[Database, bytes] | None:
        """Any key; the databases take turns."""
        databases = self.keyspace.databases
        for _ in databases:
            db = databases[self._next_database % len(databases)]
            self._next_database += 1
            table = db.volatile if volatile else db.table
            key = table.random_key(self.keyspace.rng)
            if key is not None:
                return db, key
        return None

    def _choose_best(self, policy: str) -> tuple[Database, bytes] | None:
        volatile = policy.startswith("volatile")
        while self._fill_pool(policy, volatile):
            while self.pool:
                _, index, key = self.pool.pop()
                db = self.keyspace.databases[index]
                if key in (db.volatile if volatile else db.table):
                    return db, key
        return None

    def _fill_pool(self, policy: str, volatile: bool) -> bool:
        """Adds samples from every database; False where there are no keys to choose from."""
        found = False
        for db in self.keyspace.databases:
            table = db.volatile if volatile else db.table
            if table.used:
                found = True
                self._sample(table, db.index, policy)
        return found

    def _sample(self, table: Table, index: int, policy: str) -> None:
        pool = self.pool
        for _ in range(min(self.config.maxmemory_samples, table.used)):
            key = table.random_key(self.keyspace.rng)
            assert key is not None
            score = self._score(table.get(key), policy)
            if len(pool) >= EVICTION_POOL_SIZE:
                if score <= pool[0][0]:
                    continue
                del pool[0]
            candidate = (score, index, key)
            if candidate not in pool:
                insort(pool, candidate)

    def _score(self, entry: Entry, policy: str) -> int:
        """The higher, the sooner it goes."""
        if policy == "volatile-ttl":
            return -entry.expire_ms
        if policy.endswith("-lfu"):
            now_ms = self.keyspace.now_ms
            return 255 - lfu_counter(entry.access, now_ms, self.config.lfu_decay_time)
        return idle_ms(entry.access, self.keyspace.now_ms)
