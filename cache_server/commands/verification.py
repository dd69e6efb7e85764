"""VERIFY: whether the followers hold what this node holds.

    VERIFY START         begins a pass; what differs is repaired
    VERIFY STATUS        the pass under way, and what the last one found

Source: docs/wire-format.md, "Sameness".
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command
from cache_server.errors import CommandError
from cache_server.persistence.key_digests import BUCKETS, bucket_of
from cache_server.wire.replies import OK, Map


def verify_command(ctx: Any, args: list[bytes]) -> Any:
    """VERIFY START | STATUS"""
    verb = args[1].lower()
    if verb == b"start":
        ctx.server.replication.verification.start()
        return OK
    if verb == b"status":
        return _status(ctx.server.replication)
    word = args[1][:128].decode("latin-1")
    raise CommandError(f"ERR unknown subcommand '{word}'. Try VERIFY START or VERIFY STATUS.")


def _status(replication: Any) -> Any:
    sameness = replication.sameness
    last = sameness.last
    return Map(
        [
            b"state",
            sameness.phase.value.encode(),
            b"progress-percent",
            int(replication.verification.comparison.progress_percent),
            b"passes",
            sameness.passes,
            b"last-number",
            last.number,
            b"last-offset",
            last.position,
            b"last-keys",
            last.keys,
            b"last-buckets",
            BUCKETS,
            b"last-duration-ms",
            last.ended_ms - last.started_ms,
            b"last-bytes-sent",
            last.bytes_sent,
            b"last-bytes-received",
            last.bytes_received,
            b"last-same",
            int(last.same),
            b"last-replicas",
            [_found(each) for each in last.found.values()],
        ]
    )


def _found(found: Any) -> Any:
    return Map(
        [
            b"replica",
            found.name.encode(),
            b"buckets",
            [b"%d" % each for each in found.buckets[:16]],
            b"buckets-differing",
            len(found.buckets),
            b"keys-differing",
            found.keys,
            b"keys-repaired",
            found.repaired,
            b"keys",
            [_named(db_index, key) for db_index, key in found.named],
            b"note",
            found.note.encode(),
        ]
    )


def _named(db_index: int, key: bytes) -> list[Any]:
    return [db_index, key, bucket_of(db_index, key)]


COMMANDS: list[Command] = [
    Command(
        "verify",
        2,
        "admin noscript",
        verify_command,
        group="server",
        since="7.0.0",
        summary="Compares the followers' data with this node's, and repairs what differs",
    ),
]
