"""Streams in snapshots: entries packed into listpacks, then counters, then consumer groups.

    stream    nodes | length | last id | [first id, max deleted id, entries added] | groups
    node      id of its master entry (16 bytes, big-endian) as a string | a listpack, as a string
    listpack  count | deleted | number of fields | field ... | 0          the master entry
              flags | ms - master's | seq - master's | fields and values | how many of these
    group     name | last id | [entries read] | pending ... | consumers
    pending   id (16 bytes) | delivery time (8) | deliveries
    consumer  name | seen (8) | [active (8)] | ids (16 bytes each) of its pending entries

What is in [] came with version 2 (redis-server 7.0), the consumer's activity with version 3 (7.2).
Flags: 1 the entry is deleted, 2 it has the master's fields, so only its values follow.
Source: https://github.com/redis/redis-doc and files written by redis-server 5.0 to 7.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cache_server.constants import SNAPSHOT_STREAM_NODE_ENTRIES
from cache_server.errors import InputError
from cache_server.persistence.packed import read_listpack, write_listpack

_DELETED = 1
_SAME_FIELDS = 2
_WORD = 1 << 64

StreamId = tuple[int, int]
#: An id, and its fields and values in turn.
StreamEntry = tuple[StreamId, list[bytes]]


@dataclass
class PendingEntry:
    """An entry that a consumer got and did not acknowledge."""

    consumer: bytes | None
    delivered_ms: int
    deliveries: int


@dataclass
class GroupParts:
    """A consumer group; consumers: name -> (seen, active), Unix ms. Entries read may be -1."""

    name: bytes
    last_id: StreamId
    entries_read: int
    pending: dict[StreamId, PendingEntry] = field(default_factory=dict)
    consumers: dict[bytes, tuple[int, int]] = field(default_factory=dict)


@dataclass
class StreamParts:
    """What a snapshot says of a stream."""

    entries: list[StreamEntry]
    last_id: StreamId
    max_deleted_id: StreamId
    entries_added: int
    groups: list[GroupParts] = field(default_factory=list)


# -- writing -------------------------------------------------------------------------------------


def encode_parts(encoder: Any, parts: StreamParts) -> Iterator[None]:
    """Appends a stream in version 2; yields after each node."""
    entries = parts.entries
    step = SNAPSHOT_STREAM_NODE_ENTRIES
    encoder.length((len(entries) + step - 1) // step)
    for start in range(0, len(entries), step):
        node = entries[start : start + step]
        encoder.string(_id_bytes(node[0][0]))
        encoder.string(_node(node))
        yield
    encoder.length(len(entries))
    for ms, seq in (
        parts.last_id,
        entries[0][0] if entries else (0, 0),
        parts.max_deleted_id,
    ):
        encoder.length(ms)
        encoder.length(seq)
    encoder.length(parts.entries_added)
    encoder.length(len(parts.groups))
    for group in parts.groups:
        _encode_group(encoder, group)
        yield


def _node(entries: list[StreamEntry]) -> bytes:
    (master_ms, master_seq), first = entries[0]
    fields = first[::2]
    packed: list[bytes | int] = [len(entries), 0, len(fields), *fields, 0]
    for (ms, seq), items in entries:
        same = items[::2] == fields
        start = len(packed)
        packed += (_SAME_FIELDS if same else 0, ms - master_ms, _signed(seq - master_seq))
        if same:
            packed += items[1::2]
        else:
            packed.append(len(items) // 2)
            packed += items
        packed.append(len(packed) - start)
    return write_listpack(packed)


def _encode_group(encoder: Any, group: GroupParts) -> None:
    encoder.string(group.name)
    encoder.length(group.last_id[0])
    encoder.length(group.last_id[1])
    encoder.length(group.entries_read % _WORD)
    encoder.length(len(group.pending))
    for entry_id, entry in sorted(group.pending.items()):
        encoder.out += _id_bytes(entry_id) + entry.delivered_ms.to_bytes(8, "little")
        encoder.length(entry.deliveries)
    encoder.length(len(group.consumers))
    for name, (seen_ms, _) in sorted(group.consumers.items()):
        encoder.string(name)
        encoder.out += seen_ms.to_bytes(8, "little")
        own = sorted(key for key, entry in group.pending.items() if entry.consumer == name)
        encoder.length(len(own))
        for entry_id in own:
            encoder.out += _id_bytes(entry_id)


def _id_bytes(entry_id: StreamId) -> bytes:
    return entry_id[0].to_bytes(8, "big") + entry_id[1].to_bytes(8, "big")


def _signed(number: int) -> int:
    """A difference of sequence numbers as the signed 64 bits of a listpack integer."""
    return (number + _WORD // 2) % _WORD - _WORD // 2


# -- reading -------------------------------------------------------------------------------------


def decode_parts(reader: Any, version: int) -> StreamParts:
    """Reads a stream. Raises InputError and the reader's Truncated."""
    entries: list[StreamEntry] = []
    for _ in range(reader.count()):
        master = _id_from(reader.string())
        _read_node(entries, master, read_listpack(reader.string()))
    length = reader.number()
    if length != len(entries):
        raise InputError(f"a stream has {len(entries)} entries where {length} are promised")
    last_id = _id_pair(reader)
    max_deleted_id, entries_added = (0, 0), length
    if version >= 2:
        _id_pair(reader)  # the first entry's id is seen in the entries
        max_deleted_id = _id_pair(reader)
        entries_added = reader.number()
    if entries and entries[-1][0] > last_id:
        raise InputError("a stream has an entry beyond its last id")
    parts = StreamParts(entries, last_id, max_deleted_id, entries_added)
    for _ in range(reader.count()):
        group = _read_group(reader, version)
        if any(other.name == group.name for other in parts.groups):
            raise InputError(f"a stream has the group {group.name[:80]!r} twice")
        parts.groups.append(group)
    return parts


def _read_node(entries: list[StreamEntry], master: StreamId, packed: list[bytes]) -> None:
    """Appends the entries of one node."""
    elements = iter(packed)
    try:
        count, deleted, width = _integer(elements), _integer(elements), _integer(elements)
        fields = _take(elements, width)
        if _integer(elements) != 0:
            raise InputError("the master entry of a stream node has no end")
        for _ in range(count + deleted):
            flags = _integer(elements)
            ms = master[0] + _integer(elements)
            seq = (master[1] + _integer(elements)) % _WORD
            if flags & _SAME_FIELDS:
                values = _take(elements, width)
                items = [item for pair in zip(fields, values) for item in pair]
                used = width + 3
            else:
                items = _take(elements, 2 * _integer(elements))
                used = len(items) + 4
            if _integer(elements) != used:
                raise InputError("the length of a stream entry is wrong")
            if flags & _DELETED:
                deleted -= 1
                continue
            if not 0 <= ms < _WORD or (entries and (ms, seq) <= entries[-1][0]) or not items:
                raise InputError(f"the stream entry {ms}-{seq} is out of order or empty")
            entries.append(((ms, seq), items))
    except StopIteration:
        raise InputError("a stream node ends inside an entry") from None
    if deleted or next(elements, None) is not None:
        raise InputError("the counts of a stream node are wrong")


def _integer(elements: Iterator[bytes]) -> int:
    digits = next(elements)
    try:
        return int(digits)
    except ValueError:
        raise InputError(f"{digits[:40]!r} where a stream node has a number") from None


def _take(elements: Iterator[bytes], count: int) -> list[bytes]:
    taken: list[bytes] = []
    while len(taken) < count:
        taken.append(next(elements))
    return taken


def _read_group(reader: Any, version: int) -> GroupParts:
    group = GroupParts(reader.string(), _id_pair(reader), -1)
    if version >= 2:
        group.entries_read = _signed(reader.number())
    for _ in range(reader.count()):
        entry_id = _id_from(reader.take(16))
        delivered_ms = reader.signed_ms()
        if entry_id in group.pending or delivered_ms < 0:
            raise InputError(f"the pending entry {entry_id[0]}-{entry_id[1]} is wrong")
        group.pending[entry_id] = PendingEntry(None, delivered_ms, reader.number())
    owned = 0
    for _ in range(reader.count()):
        owned += _read_consumer(reader, group, version)
    if owned != len(group.pending):
        raise InputError("a pending entry of a stream belongs to no consumer")
    return group


def _read_consumer(reader: Any, group: GroupParts, version: int) -> int:
    """Reads a consumer into the group; returns how many pending entries it has."""
    name = reader.string()
    seen_ms = reader.signed_ms()
    active_ms = reader.signed_ms() if version >= 3 else seen_ms
    if name in group.consumers or seen_ms < 0:
        raise InputError(f"the consumer {name[:80]!r} of a stream is wrong")
    group.consumers[name] = (seen_ms, active_ms)
    count: int = reader.count()
    owned = 0
    while owned < count:
        entry = group.pending.get(_id_from(reader.take(16)))
        if entry is None or entry.consumer is not None:
            raise InputError(f"the consumer {name[:80]!r} has an entry that is not pending")
        entry.consumer = name
        owned += 1
    return owned


def _id_from(data: bytes) -> StreamId:
    if len(data) != 16:
        raise InputError(f"a stream id of {len(data)} bytes")
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big")


def _id_pair(reader: Any) -> StreamId:
    return reader.number(), reader.number()


# -- the keyspace's streams ----------------------------------------------------------------------


def encode_steps(_encoder: Any, _stream: Any) -> Iterator[None]:
    """Appends a stream; yields now and then."""
    raise InputError("a stream cannot be saved")


def decode(reader: Any, version: int) -> Any:
    """Reads a stream. Raises InputError and the reader's Truncated."""
    decode_parts(reader, version)
    raise InputError("a stream is not supported")
