"""Comparing this node's data with another's: the walks over it, and the repair of single keys.

The machines (`replication.sameness`, `replication.questions`) say what is to be digested and when;
here the walk is done beside the clients, a millisecond at a time, within a budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from cache_server.errors import InputError
from cache_server.keyspace.database import EXPIRE_IGNORE, NOTIFY_GENERIC
from cache_server.persistence.key_digests import DigestWalk, bucket_of
from cache_server.persistence.snapshot_codec import (
    Fit,
    dump_is_intact,
    dump_value,
    restore_value,
)
from replication.actions import KeyValue

#: How long a part of a walk may keep the loop, in seconds.
_SLICE_S = 0.001
#: Keys between two looks at the clock.
_STEP_KEYS = 64


class Comparison:
    """One walk at a time; `begin` puts the one before out of the way."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._walk: DigestWalk | None = None
        self._timer: Any = None
        self._done: Callable[[DigestWalk], None] = _nobody
        self._pause_s = 0.0

    @property
    def progress_percent(self) -> float:
        """How far the walk is; 0 without one."""
        walk = self._walk
        return 0.0 if walk is None else 100 * walk.keys_done / max(1, walk.keys_total)

    def begin(
        self,
        buckets: frozenset[int] | None,
        budget_percent: int,
        done: Callable[[DigestWalk], None],
    ) -> None:
        """Digests the data as it is at this moment; `done(walk)` is told when it is through."""
        self.stop()
        self._walk = DigestWalk(self._server.keyspace, buckets)
        self._done = done
        budget = min(100, max(1, budget_percent)) / 100
        self._pause_s = _SLICE_S * (1 - budget) / budget
        self._timer = self._server.loop.call_soon(self._slice)

    def stop(self) -> None:
        """Nobody wants the result any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._walk is not None:
            self._walk.close()
            self._walk = None

    def _slice(self) -> None:
        walk = self._walk
        assert walk is not None
        until = time.monotonic() + _SLICE_S
        while not walk.ended and time.monotonic() < until:
            walk.step(_STEP_KEYS)
        if not walk.ended:
            self._timer = self._server.loop.call_later(self._pause_s, self._slice)
            return
        self._timer = None
        self._walk = None
        walk.close()
        self._done(walk)


def _nobody(_: DigestWalk) -> None:
    """No walk, no result."""


def read_values(keyspace: Any, keys: Iterable[tuple[int, bytes]]) -> tuple[KeyValue, ...]:
    """These keys as they are, expired or not."""
    values = []
    for db_index, key in keys:
        entry = None
        if db_index < len(keyspace.databases):
            entry = keyspace.databases[db_index].table.get(key)
        if entry is None:
            values.append(KeyValue(db_index, key, 0, b""))
        else:
            payload = dump_value(entry.value)
            values.append(KeyValue(db_index, key, entry.expire_ms, payload))
    return tuple(values)


def repair(server: Any, values: Iterable[KeyValue]) -> int:
    """Takes the leader's values in place of ours; returns how many. What cannot be read is left,
    to be found again by the next pass."""
    keyspace = server.keyspace
    fit = Fit(server.config)
    mode, keyspace.expire_mode = keyspace.expire_mode, EXPIRE_IGNORE
    repaired = 0
    try:
        for each in values:
            if each.db_index < len(keyspace.databases):
                repaired += _repair_key(keyspace.databases[each.db_index], each, fit)
    finally:
        keyspace.expire_mode = mode
    return repaired


def _repair_key(db: Any, wanted: KeyValue, fit: Fit) -> int:
    if not wanted.payload:
        if db.delete(wanted.key):
            db.changed(wanted.key, NOTIFY_GENERIC, b"del")
        return 1
    if not dump_is_intact(wanted.payload):
        return 0
    try:
        value = fit.apply(restore_value(wanted.payload))
    except InputError:
        return 0
    db.put(wanted.key, value)
    if wanted.expire_ms:
        db.set_expiry(wanted.key, wanted.expire_ms)
    db.changed(wanted.key, NOTIFY_GENERIC, b"restore")
    return 1


def listed_with_buckets(walk: DigestWalk) -> tuple[tuple[int, bytes, int, int], ...]:
    """What a walk has listed, each key with its bucket."""
    return tuple(
        (db_index, key, digest, bucket_of(db_index, key)) for db_index, key, digest in walk.listed
    )
