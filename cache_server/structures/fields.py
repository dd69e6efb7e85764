"""Fields: the fields of a hash and their values, small ones in one block of memory.

Problem. Most hashes are small, and there are millions of them. A table, its dict and two objects a
field cost five times the bytes that they hold.

Idea. While the words are short and few, they lie in one block, one after the other, and a look-up
walks over them: at this size no slower than hashing. Past FIELDS_BLOCK_BYTES_MAX bytes,
FIELDS_BLOCK_PAIRS_MAX pairs or a word of over 255 bytes, the block becomes a `Table`, for good.

That is `fields.pyx`. This file is the specification and the pure twin: a table from the beginning.

Invariants: fields and values are bytes; while there is a block, fields are in order of insertion.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from cache_server.structures.table import Table


class Fields:
    """A mapping of bytes to bytes. Not for iteration while it is changed, except by `scan`.

    `unpacked` is the table that holds the fields; None while they lie in one block."""

    def __init__(self) -> None:
        self.unpacked: Table | None = Table()
        self._table = self.unpacked
        self.get = self._table.get
        self.set = self._table.set
        self.discard = self._table.discard
        self.flat_items = self._table.flat_items
        self.keys_list = self._table.keys_list

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, field: bytes) -> bool:
        return field in self._table

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._table)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """The pairs of field and value."""
        return self._table.items()

    def values_list(self) -> list[bytes]:
        """All values in a new list."""
        return list(self._table.values())

    def take_words(self, words: list[bytes]) -> bool:
        """Fills empty fields with fields and values in turn; False where a field comes twice."""
        for index in range(0, len(words), 2):
            self.set(words[index], words[index + 1])
        return 2 * len(self) == len(words)

    def longest_word(self) -> int:
        """The length of the longest field or value in bytes; 0 when empty."""
        return max(map(len, self.flat_items()), default=0)

    def encoded(self, as_map: bool) -> bytes | None:
        """What HGETALL answers, in RESP: as a map or as an array. None where there is no block."""
        return None

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """As `Table.scan`; a block is returned whole."""
        return self._table.scan(cursor, count)

    def random_key(self, rng: Random) -> bytes | None:
        """A field, each with the same probability; None when empty."""
        return self._table.random_key(rng)
