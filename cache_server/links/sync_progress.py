"""How far full syncs are, in percent and bytes, for INFO and the log, on both sides.

A leader knows per follower what it was sent, and what part of the data that is; a follower counts
keys, of which the leader said how many there are.
"""

from __future__ import annotations

import logging
from typing import Any

from replication.constants import SYNC_LOG_INTERVAL_MS
from replication.progress import Progress
from replication.sync_intake import SyncIntake

Fields = list[tuple[str, object]]

log = logging.getLogger("cache_server")


def sent_fields(replication: Any) -> Fields:
    """The full syncs that a leader gives: all of them together."""
    feed = replication.leader.feed
    if not feed.passes:
        return []
    syncing = [p for p in replication.leader.attached if p.sync is not None]
    held = [each.chunks for each in feed.passes]
    return [
        ("cache_sync_replicas", len(syncing)),
        ("cache_sync_bytes_sent", sum(p.snapshot_sent_bytes for p in syncing)),
        ("cache_sync_percent", f"{min(sent_percent(p) for p in syncing):.1f}"),
        ("cache_sync_held_memory_bytes", sum(each.memory_bytes for each in held)),
        ("cache_sync_held_disk_bytes", sum(each.overflow_bytes for each in held)),
    ]


def sent_percent(progress: Progress) -> float:
    """What part of the data a follower has been sent, in percent."""
    current = progress.sync
    return 0.0 if current is None else 100 * current.share_of(progress.snapshot_sent_bytes)


def received_fields(replication: Any) -> Fields:
    """The full sync that a follower is in, or is catching up after."""
    follower = replication.follower
    snapshot = follower.snapshot
    held = follower.held
    fields: Fields = []
    if snapshot is not None:
        done, total = replication.following.received_keys()
        fields = [
            ("cache_sync_bytes_received", snapshot.received_bytes),
            ("cache_sync_keys_received", done),
            ("cache_sync_percent", f"{100 * done / max(1, total):.1f}"),
        ]
        held = snapshot.held if isinstance(snapshot, SyncIntake) else None
    if held is not None:
        fields.append(("cache_sync_stream_memory_bytes", held.memory_bytes))
        fields.append(("cache_sync_stream_disk_bytes", held.overflow_bytes))
    return fields


class SyncProgressLog:
    """Says now and then how far the full sync is that this node receives."""

    def __init__(self, replication: Any) -> None:
        self._replication = replication
        self._logged_ms = 0

    def tick(self, now_ms: int) -> None:
        """To be called now and then, by the clock of the machines."""
        snapshot = self._replication.follower.snapshot
        if snapshot is None:
            self._logged_ms = now_ms
        elif now_ms - self._logged_ms >= SYNC_LOG_INTERVAL_MS:
            self._logged_ms = now_ms
            values = dict(received_fields(self._replication))
            log.info(
                "MASTER <-> REPLICA sync: %s%%, %d bytes received",
                values["cache_sync_percent"],
                snapshot.received_bytes,
            )
