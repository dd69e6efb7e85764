"""Forks: where two histories part.

Both peers name their *lineage*: every replication id they know, each with the last position that
belongs to it. What was written under one id was written by one leader, so up to the lesser of their
two last positions both hold the same bytes; the latest such position is the fork.

    ours      A up to 500                       common: A, up to 420
    theirs    B up to 900, A up to 420          we wrote 420..500 where they began with B
"""

from replication.actions import FORK_WORDS, Fork
from replication.constants import LINEAGE_BYTES_MAX, LINEAGE_IDS_MAX, POSITION_MAX
from replication.history import is_replid

Lineage = tuple[tuple[str, int], ...]


def encode_lineage(lineage: Lineage) -> bytes:
    """Ids with their last positions, as `REPLCONF lineage` carries them."""
    return ",".join(f"{replid}:{last}" for replid, last in lineage[:LINEAGE_IDS_MAX]).encode()


def decode_lineage(text: bytes) -> Lineage | None:
    """The lineage that a peer wrote, None where it is malformed."""
    if len(text) > LINEAGE_BYTES_MAX:
        return None
    found = []
    for word in text.decode("latin-1").split(","):
        replid, colon, last = word.partition(":")
        position = position_of(last)
        if not colon or not is_replid(replid) or position is None:
            return None
        found.append((replid, position))
    return tuple(found) if len(found) <= LINEAGE_IDS_MAX else None


def common_point(ours: Lineage, theirs: Lineage) -> tuple[str, int] | None:
    """The latest position that both know under the same id, and that id; None without one."""
    known = dict(reversed(theirs))
    points = [(replid, min(last, known[replid])) for replid, last in ours if replid in known]
    return max(points, key=lambda point: point[1], default=None)


def read_fork(words: list[str]) -> Fork | None:
    """`+FORK id position how`; None where it is malformed."""
    if len(words) < 4 or not is_replid(words[1]) or words[3] not in FORK_WORDS:
        return None
    position = position_of(words[2])
    return None if position is None else Fork(words[1], position, words[3])


def position_of(text: str) -> int | None:
    """A position in digits, or None."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > POSITION_MAX:
        return None
    return int(text)
