"""A digest of values and of the whole data set: equal data give equal digests, on any node.

    value      hash over type and elements; elements without an order are combined by XOR
    data set   XOR over (database, key, value, expiry)

The digest is ours, not Redis's; what is compared is always two answers of this program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from cache_server.datatypes.values import is_string

DIGEST_BYTES = 20


def _hash(*parts: bytes) -> int:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return int.from_bytes(digest.digest(), "big")


def _unordered(hashes: Iterable[int]) -> int:
    total = 0
    for one in hashes:
        total ^= one
    return total


def _stream_parts(stream: Any) -> Iterator[bytes]:
    for entry_id, words in stream.items():
        yield b"%d" % entry_id
        yield from words


def value_digest(value: Any) -> int:
    """The digest of a value, whatever its encoding."""
    if is_string(value):
        return _hash(b"string", b"%d" % value if type(value) is int else bytes(value))
    kind: bytes = value.type_name
    if kind == b"set":
        total = _unordered(_hash(_member(member)) for member in value)
    elif kind == b"hash":
        total = _unordered(_hash(field, _member(held)) for field, held in value.items())
    elif kind == b"zset":
        pairs = value.items()
        total = _unordered(_hash(member, b"%.17g" % score) for member, score in pairs)
    elif kind == b"stream":
        total = _hash(b"%d" % value.last_id, *_stream_parts(value))
    else:
        total = _hash(*(_member(element) for element in value))
    return _hash(kind, b"%x" % total)


def _member(value: Any) -> bytes:
    """A collection may hold numbers as numbers."""
    return b"%d" % value if type(value) is int else bytes(value)


def dataset_digest(keyspace: Any) -> int:
    """The digest of all databases; 0 where they are empty."""
    return _unordered(
        _hash(b"%d" % db.index, key, b"%x" % value_digest(entry.value), b"%d" % entry.expire_ms)
        for db in keyspace.databases
        for key, entry in db.table.items()
    )


def shown(digest: int) -> bytes:
    """As DEBUG DIGEST says it: hex digits."""
    return b"%0*x" % (2 * DIGEST_BYTES, digest)
