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
from typing import Any

from cache_server.datatypes.stream_groups import UNKNOWN, Consumer, Group, Pending, PendingList
from cache_server.datatypes.streams import Stream
from cache_server.errors import InputError
from cache_server.persistence.packed import read_listpack, write_listpack

_DELETED = 1
_SAME_FIELDS = 2
_PART = 1 << 64

#: Pending entries written between two pauses.
_ENTRIES_A_STEP = 1000


# -- writing -------------------------------------------------------------------------------------


def encode_steps(encoder: Any, stream: Stream) -> Iterator[None]:
    """Appends a stream in version 2; yields after each node and each group."""
    encoder.length(len(stream.nodes))
    for node in stream.nodes:
        encoder.string(_id_bytes(node.ids[0]))
        encoder.string(_node(list(zip(node.ids, node.fields))))
        yield
    encoder.length(len(stream))
    for entry_id in (stream.last_id, stream.first_id, stream.max_deleted_id):
        _encode_id(encoder, entry_id)
    encoder.length(stream.entries_added)
    encoder.length(len(stream.groups))
    for name in sorted(stream.groups):
        encoder.string(name)
        yield from _encode_group(encoder, stream.groups[name])


def _node(entries: list[tuple[int, list[bytes]]]) -> bytes:
    master, first = entries[0]
    fields = first[::2]
    packed: list[bytes | int] = [len(entries), 0, len(fields), *fields, 0]
    for entry_id, items in entries:
        same = items[::2] == fields
        start = len(packed)
        packed.append(_SAME_FIELDS if same else 0)
        packed.append(_signed((entry_id >> 64) - (master >> 64)))
        packed.append(_signed((entry_id - master) % _PART))
        if same:
            packed += items[1::2]
        else:
            packed.append(len(items) // 2)
            packed += items
        packed.append(len(packed) - start)
    return write_listpack(packed)


def _encode_group(encoder: Any, group: Group) -> Iterator[None]:
    _encode_id(encoder, group.last_id)
    encoder.length(group.entries_read % _PART)
    yield from _encode_pending(encoder, group.pending, full=True)
    encoder.length(len(group.consumers))
    for name in sorted(group.consumers):
        consumer = group.consumers[name]
        encoder.string(name)
        encoder.out += consumer.seen_ms.to_bytes(8, "little")
        yield from _encode_pending(encoder, consumer.pending, full=False)


def _encode_pending(encoder: Any, pending: PendingList, full: bool) -> Iterator[None]:
    """Ids, and with `full` what is known of each; yields now and then."""
    encoder.length(len(pending))
    for number, (entry_id, entry) in enumerate(pending.items()):
        encoder.out += _id_bytes(entry_id)
        if full:
            encoder.out += entry.delivered_ms.to_bytes(8, "little")
            encoder.length(entry.deliveries)
        if number % _ENTRIES_A_STEP == 0:
            yield


def _encode_id(encoder: Any, entry_id: int) -> None:
    encoder.length(entry_id >> 64)
    encoder.length(entry_id % _PART)


def _id_bytes(entry_id: int) -> bytes:
    return entry_id.to_bytes(16, "big")


def _signed(number: int) -> int:
    """64 bits as the signed integer that a listpack holds."""
    return (number + _PART // 2) % _PART - _PART // 2


# -- reading -------------------------------------------------------------------------------------


def decode(reader: Any, version: int) -> Stream:
    """Reads a stream. Raises InputError and the reader's Truncated."""
    stream = Stream()
    for _ in range(reader.count()):
        master = _id_from(reader.string())
        _read_node(stream, master, read_listpack(reader.string()))
    length = reader.number()
    if length != len(stream):
        raise InputError(f"a stream has {len(stream)} entries where {length} are promised")
    last_id = _read_id(reader)
    if last_id < stream.last_id:
        raise InputError("a stream has an entry beyond its last id")
    stream.last_id = last_id
    if version >= 2:
        _read_id(reader)  # the first entry's id is seen in the entries
        stream.max_deleted_id = _read_id(reader)
        stream.entries_added = reader.number()
    for _ in range(reader.count()):
        name = reader.string()
        if name in stream.groups:
            raise InputError(f"a stream has the group {name[:80]!r} twice")
        stream.groups[name] = _read_group(reader, stream, version)
    return stream


def _read_node(stream: Stream, master: int, packed: list[bytes]) -> None:
    """Appends the entries of one node."""
    elements = iter(packed)
    try:
        count, deleted, width = _integer(elements), _integer(elements), _integer(elements)
        fields = _take(elements, width)
        if _integer(elements) != 0:
            raise InputError("the master entry of a stream node has no end")
        for _ in range(count + deleted):
            flags = _integer(elements)
            entry_id = _entry_id(master, _integer(elements), _integer(elements))
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
            if entry_id <= stream.last_id or not items:
                raise InputError(f"the stream entry {entry_id:#x} is out of order or empty")
            stream.append(entry_id, items)
    except StopIteration:
        raise InputError("a stream node ends inside an entry") from None
    if deleted or next(elements, None) is not None:
        raise InputError("the counts of a stream node are wrong")


def _entry_id(master: int, ms: int, sequence: int) -> int:
    """The id at these distances from the master entry's; each half wraps around."""
    return ((master >> 64) + ms) % _PART << 64 | (master + sequence) % _PART


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


def _read_group(reader: Any, stream: Stream, version: int) -> Group:
    group = Group(_read_id(reader))
    if version >= 2:
        group.entries_read = max(UNKNOWN, _signed(reader.number()))
    else:
        group.entries_read = stream.entries_up_to(group.last_id)
    unowned: dict[int, Pending] = {}
    for _ in range(reader.count()):
        entry_id = _id_from(reader.take(16))
        delivered_ms = reader.signed_ms()
        deliveries = reader.number()
        if entry_id in unowned or delivered_ms < 0 or deliveries >= _PART // 2:
            raise InputError(f"the pending stream entry {entry_id:#x} is wrong")
        unowned[entry_id] = Pending(b"", delivered_ms, deliveries)
    for entry_id in sorted(unowned):
        group.pending.add(entry_id, unowned[entry_id])
    for _ in range(reader.count()):
        _read_consumer(reader, group, unowned, version)
    if unowned:
        raise InputError("a pending entry of a stream belongs to no consumer")
    return group


def _read_consumer(reader: Any, group: Group, unowned: dict[int, Pending], version: int) -> None:
    """Reads a consumer into the group; its entries are no longer `unowned`."""
    name = reader.string()
    seen_ms = reader.signed_ms()
    if version >= 3:
        reader.signed_ms()  # when it last got something: 7.0 does not know that
    if name in group.consumers:
        raise InputError(f"Duplicate stream consumer detected: {name[:80]!r}")
    if seen_ms < 0:
        raise InputError(f"the consumer {name[:80]!r} of a stream is wrong")
    consumer = group.consumers[name] = Consumer(seen_ms)
    ids = [_id_from(reader.take(16)) for _ in range(reader.count())]
    for entry_id in sorted(ids):
        pending = unowned.pop(entry_id, None)
        if pending is None:
            if entry_id in group.pending.entries:
                raise InputError("Stream consumer PEL entry already has a consumer assigned")
            raise InputError(f"the consumer {name[:80]!r} has an entry that is not pending")
        pending.consumer = name
        consumer.pending.add(entry_id, pending)


def _id_from(data: bytes) -> int:
    if len(data) != 16:
        raise InputError(f"a stream id of {len(data)} bytes")
    return int.from_bytes(data, "big")


def _read_id(reader: Any) -> int:
    high: int = reader.number()
    low: int = reader.number()
    return high << 64 | low
