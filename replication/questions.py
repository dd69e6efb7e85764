"""Questions and answers about sameness: their forms, and the part of the follower that is asked.

    question   the body of a VERIFY frame     digests N budget | keys N budget buckets
                                              repair N more|last part | rebuild N
    answer     REPLCONF VERIFY <words>        digests N sums | keys N (database key digest)...
                                              done N count | declined N reason

Words are packed with their lengths. `N` is the number of the pass: an answer to an older one is
passed over. Numbers of buckets and sums are 64 bits each, little-endian; others are digits. A
repair is (database, key, expiry, value as DUMP gives it)... packed, and cut into parts where it is
longer than a frame; an empty value stands for a key that is not there.
"""

import struct
from collections.abc import Iterable
from typing import Final

from replication import actions as act
from replication import events as ev
from replication.actions import Action
from replication.constants import VERIFY_REPAIR_BYTES_MAX, VERIFY_WORDS_MAX
from replication.frames import FrameError

_LENGTH: Final = struct.Struct("<I")
_NUMBERS: Final = "<%dQ"

DIGESTS: Final = b"digests"
KEYS: Final = b"keys"
REPAIR: Final = b"repair"
REBUILD: Final = b"rebuild"
DONE: Final = b"done"
DECLINED: Final = b"declined"

Key = tuple[int, bytes]
"""Number of the database, and name."""


def pack(words: Iterable[bytes]) -> bytes:
    """Words as bytes: each its length in 4 bytes, little-endian, and itself."""
    return b"".join(_LENGTH.pack(len(word)) + word for word in words)


def unpack(data: bytes) -> list[bytes]:
    """The words in `data`. Raises `FrameError` where it is not what `pack` gives."""
    words: list[bytes] = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data) or len(words) == VERIFY_WORDS_MAX:
            raise FrameError("a list of words is cut short or too long")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + length > len(data):
            raise FrameError("a word is longer than what holds it")
        words.append(data[at : at + length])
        at += length
    return words


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Numbers of 64 bits, little-endian."""
    listed = list(numbers)
    return struct.pack(_NUMBERS % len(listed), *listed)


def unpack_numbers(data: bytes) -> tuple[int, ...]:
    """Raises `FrameError` where `data` is not numbers of 64 bits."""
    if len(data) % 8:
        raise FrameError(f"{len(data)} bytes are no numbers of 64 bits")
    return struct.unpack(_NUMBERS % (len(data) // 8), data)


def number_of(word: bytes) -> int:
    """A number in digits. Raises `FrameError`."""
    if not word.isdigit() or len(word) > 19:
        raise FrameError(f"{word[:20]!r} is no number")
    return int(word)


def pack_keys(listed: Iterable[tuple[int, bytes, int]]) -> list[bytes]:
    """(database, key, digest) as words."""
    words: list[bytes] = []
    for db_index, key, digest in listed:
        words += (b"%d" % db_index, key, b"%d" % digest)
    return words


def unpack_keys(words: list[bytes]) -> dict[Key, int]:
    """Digests by key. Raises `FrameError`."""
    if len(words) % 3:
        raise FrameError("a list of keys is cut short")
    return {
        (number_of(words[at]), words[at + 1]): int(words[at + 2])
        for at in range(0, len(words), 3)
        if words[at + 2].isdigit()
    }


class ComparedSide:
    """A follower's part: what to do with the body of a VERIFY frame, and the answers."""

    __slots__ = ("_blob", "_number")

    def __init__(self) -> None:
        self._number = -1
        self._blob = b""

    def reset(self) -> None:
        """The link is gone, and with it the question."""
        self._number, self._blob = -1, b""

    def take(self, body: bytes) -> list[Action]:
        """What a frame asks for. Raises `FrameError` for what is none of its forms."""
        words = unpack(body)
        if len(words) < 2:
            raise FrameError("a question of no words")
        verb, number = words[0], number_of(words[1])
        self._number = number
        if verb == DIGESTS and len(words) == 3:
            return [act.CompareData(number, None, number_of(words[2]))]
        if verb == KEYS and len(words) == 4:
            wanted = frozenset(unpack_numbers(words[3]))
            return [act.CompareData(number, wanted, number_of(words[2]))]
        if verb == REPAIR and len(words) == 4:
            return self._take_repair(number, words[2] == b"last", words[3])
        if verb == REBUILD:
            return [act.Rebuild("the leader found that too much of our data differs")]
        raise FrameError(f"unknown question {verb[:20]!r}")

    def _take_repair(self, number: int, last: bool, part: bytes) -> list[Action]:
        self._blob += part
        if len(self._blob) > VERIFY_REPAIR_BYTES_MAX:
            raise FrameError("a repair is too long")
        if not last:
            return []
        words, self._blob = unpack(self._blob), b""
        if len(words) % 4:
            raise FrameError("a repair is cut short")
        values = tuple(
            act.KeyValue(number_of(db_index), key, number_of(expire_ms), payload)
            for db_index, key, expire_ms, payload in zip(*(words[at::4] for at in range(4)))
        )
        return [act.RepairKeys(number, values)]

    def answer(self, event: ev.DataCompared) -> bytes | None:
        """The words of the answer; None where the question is no longer asked."""
        if event.number != self._number:
            return None
        return pack([event.verb, b"%d" % event.number, *event.words])
