"""A snapshot written as commands: the base of a log with `aof-use-rdb-preamble no`.

Each key becomes the commands that make it, of at most REWRITE_ITEMS elements each as in Redis, and
PEXPIREAT where it expires. Streams, which a handful of commands cannot describe to the end, become
RESTORE with the payload of DUMP.

It stands in for the snapshot's Encoder: the same calls, other bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from cache_server.constants import REWRITE_ITEMS
from cache_server.persistence.log_codec import encode_command, encode_select, encode_time
from cache_server.persistence.snapshot_codec import Encoder, dump_value

#: The name of the field that becomes the annotation of `aof-timestamp-enabled`.
LOG_TIME = b"log-time"


class CommandEncoder(Encoder):
    """Appends commands to `out`. What only an RDB file has (header, fields, sizes) is left out."""

    def header(self) -> None:
        """A log of commands begins with the first of them."""

    def aux(self, name: bytes, value: Any) -> None:
        """There is no preamble, but the time may be noted."""
        if name == LOG_TIME:
            self.out += encode_time(value)

    def function(self, library: bytes) -> None:
        self.out += encode_command([b"FUNCTION", b"LOAD", library])

    def select(self, index: int) -> None:
        self.out += encode_select(index)

    def sizes(self, keys: int, volatile: int) -> None:
        """Only a hint in RDB."""

    def entries(self, items: list[tuple[bytes, Any]], start: int) -> int:
        """Encodes entries from `start` on; stops before a value that takes several steps."""
        stop = len(items)
        while start < stop:
            key, entry = items[start]
            value = entry.value
            kind = type(value)
            whole = kind is bytes or kind is int or kind is bytearray
            if not whole and len(value) > REWRITE_ITEMS:
                break
            self.entry(key, entry)
            start += 1
        return start

    def entry(self, key: bytes, entry: Any) -> None:
        """One key as a whole."""
        for _ in self.steps(key, entry):
            pass

    def steps(self, key: bytes, entry: Any) -> Iterator[None]:
        """One key; yields between the commands of a value of many elements."""
        value = entry.value
        for words in _commands(key, value):
            self.out += encode_command(words)
            yield
        if entry.expire_ms:
            self.out += encode_command([b"PEXPIREAT", key, b"%d" % entry.expire_ms])

    def end(self) -> None:
        """A log has no end."""


def _commands(key: bytes, value: Any) -> Iterator[list[bytes]]:
    kind = type(value)
    if kind is bytes or kind is int or kind is bytearray:
        yield [b"SET", key, _text(value)]
        return
    name = value.type_name
    if name == b"stream":
        yield [b"RESTORE", key, b"0", dump_value(value, False)]
    elif name == b"hash":
        yield from _batches(b"HMSET", key, ((_text(f), _text(v)) for f, v in value.items()))
    elif name == b"zset":
        pairs = ((b"%.17g" % score, _text(member)) for member, score in value.items())
        yield from _batches(b"ZADD", key, pairs)
    else:
        command = b"RPUSH" if name == b"list" else b"SADD"
        yield from _batches(command, key, ((_text(item),) for item in value))


def _batches(
    command: bytes, key: bytes, groups: Iterator[tuple[bytes, ...]]
) -> Iterator[list[bytes]]:
    while batch := list(islice(groups, REWRITE_ITEMS)):
        yield [command, key, *(word for group in batch for word in group)]


def _text(value: Any) -> bytes:
    return b"%d" % value if type(value) is int else bytes(value)
