"""DEBUG DIGEST: a digest of values and of the whole data set, the same as redis-server's.

Two data sets that answer alike have equal digests, whatever their encodings, here or on a stock
server. Everything is SHA-1 and XOR on 160 bits:

    add(d, data)   d ^ sha1(data)                  the order of additions does not matter
    mix(d, data)   sha1(d ^ sha1(data))            the order does matter

    value          mix the type's number, then its elements: mixed where they have an order,
                   otherwise added (a pair as the digest of its two mixed halves); add "!!expire!!"
                   where the key has an expiry
    data set       for each database that is not empty mix its number, then add each key's digest:
                   mix the key, then its value

Consumer groups, and when a key expires, are in no digest. Source: answers of redis-server 7.0.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cache_server.datatypes.values import is_string

DIGEST_BYTES = 20

_TYPE_NUMBERS = {b"list": 1, b"set": 2, b"zset": 3, b"hash": 4, b"stream": 6}


def _sha1(data: bytes) -> int:
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest(), "big")


def _mix(digest: int, data: bytes) -> int:
    return _sha1((digest ^ _sha1(data)).to_bytes(DIGEST_BYTES, "big"))


def _pair(first: bytes, second: bytes) -> int:
    return _sha1(_mix(_mix(0, first), second).to_bytes(DIGEST_BYTES, "big"))


def value_digest(value: Any, expires: bool, digest: int = 0) -> int:
    """The digest of a value, whatever its encoding, on top of `digest`."""
    if is_string(value):
        digest = _mix(_mix(digest, bytes(4)), _plain(value))
    else:
        digest = _mix(digest, _TYPE_NUMBERS[value.type_name].to_bytes(4, "big"))
        digest = _collection_digest(value, digest)
    return digest ^ _sha1(b"!!expire!!") if expires else digest


def _collection_digest(value: Any, digest: int) -> int:
    kind: bytes = value.type_name
    if kind == b"list":
        for element in value:
            digest = _mix(digest, _plain(element))
    elif kind == b"set":
        for member in value:
            digest ^= _sha1(_plain(member))
    elif kind == b"hash":
        for field, held in value.items():
            digest ^= _pair(field, _plain(held))
    elif kind == b"zset":
        for member, score in value.items():
            digest ^= _pair(member, b"%.17g" % score)
    else:
        for entry_id, words in value.items():
            digest = _mix(digest, b"%d.%d" % (entry_id >> 64, entry_id % 2**64))
            for word in words:
                digest = _mix(digest, word)
    return digest


def _plain(value: Any) -> bytes:
    """A collection may hold numbers as numbers."""
    return b"%d" % value if type(value) is int else bytes(value)


def dataset_digest(keyspace: Any) -> int:
    """The digest of all databases; 0 where they are empty."""
    digest = 0
    for db in keyspace.databases:
        if len(db):
            digest = _mix(digest, db.index.to_bytes(4, "big"))
        for key, entry in db.table.items():
            found = value_digest(entry.value, entry.expire_ms != 0, _mix(0, key))
            digest ^= _sha1(found.to_bytes(DIGEST_BYTES, "big"))
    return digest


def shown(digest: int) -> bytes:
    """As DEBUG DIGEST says it: hex digits."""
    return b"%0*x" % (2 * DIGEST_BYTES, digest)
