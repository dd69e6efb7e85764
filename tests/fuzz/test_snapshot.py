"""Snapshots: what is written is read back; what is damaged raises InputError alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.datatypes.hashes import Hash
from cache_server.datatypes.list_value import List
from cache_server.datatypes.sets import Set
from cache_server.datatypes.sorted_sets import SortedSet
from cache_server.datatypes.stream_groups import Consumer, Group
from cache_server.datatypes.streams import Stream
from cache_server.errors import InputError
from cache_server.keyspace.database import Keyspace
from cache_server.persistence.snapshot import Snapshot
from cache_server.persistence.snapshot_codec import (
    Loaded,
    Loader,
    dump_is_intact,
    dump_value,
    restore_value,
)
from replication.checksum import crc64_redis

NOW_MS = 1_000_000
DATABASES = 4

words = st.binary(max_size=30) | st.integers(-(2**40), 2**40).map(b"%d".__mod__)
words |= st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 60)).map(lambda p: p[0] * p[1])
scores = st.floats(allow_nan=False)
entries = st.dictionaries(
    st.integers(1, 2**127) | st.integers(1, 50),
    st.lists(st.tuples(words, words), min_size=1, max_size=3),
    max_size=20,
)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """A stream, with ids of any distance, fields that are shared or not, and a group."""
    stream = Stream(
        (entry_id, [word for pair in pairs for word in pair])
        for entry_id, pairs in sorted(draw(entries).items())
    )
    stream.max_deleted_id = draw(st.integers(0, 2**127))
    stream.entries_added += draw(st.integers(0, 1000))
    if draw(st.booleans()):
        group = Group(draw(st.integers(0, 2**127)), draw(st.integers(-1, 9)))
        group.consumers[b"alice"] = Consumer(draw(st.integers(0, 2**40)))
        for entry_id in draw(st.sets(st.integers(1, 2**127), max_size=4)):
            group.assign(entry_id, b"alice", draw(st.integers(0, 2**40)))
        stream.groups[draw(words)] = group
    return stream


values = st.one_of(
    streams(),
    words,
    st.integers(-(2**63), 2**63 - 1),
    words.map(bytearray),
    st.lists(words, min_size=1, max_size=20).map(List),
    st.lists(words, min_size=1, max_size=20, unique=True).map(Set),
    st.dictionaries(words, words, min_size=1, max_size=20).map(lambda d: Hash(d.items())),
    st.dictionaries(words, scores, min_size=1, max_size=20).map(lambda d: SortedSet(d.items())),
)
keyspaces = st.lists(
    st.tuples(st.integers(0, DATABASES - 1), words, values, st.sampled_from([0, 0, 5, 2**45])),
    max_size=12,
)


def keyspace_of(items: list[tuple[int, bytes, Any, int]]) -> Keyspace:
    keyspace = Keyspace(DATABASES)
    keyspace.now_ms = 1
    for index, key, value, expire_ms in items:
        db = keyspace.databases[index]
        db.put(key, value)
        if expire_ms:
            db.set_expiry(key, expire_ms)
    keyspace.now_ms = NOW_MS
    return keyspace


def snapshot_bytes(keyspace: Keyspace, compress: bool = False) -> bytes:
    snapshot = Snapshot(keyspace, [(b"redis-ver", b"7.0.15"), (b"ctime", 1)], compress=compress)
    data = b"".join(iter(lambda: snapshot.next_chunk(100), b""))
    snapshot.close()
    return data


def load(data: bytes, chunk_bytes: int = 1 << 20) -> Loaded:
    loader = Loader(DATABASES, NOW_MS)
    for start in range(0, len(data), chunk_bytes):
        loader.feed(data[start : start + chunk_bytes])
    return loader.finish()


def plain(value: Any) -> Any:
    """A value as built-in types, for comparison."""
    kind = type(value)
    if kind in (int, bytes, bytearray):
        return bytes(b"%d" % value if kind is int else value)
    if kind is Stream:
        counters = (value.last_id, value.max_deleted_id, value.entries_added)
        return (*counters, list(value.items()), groups(value))
    if kind is Hash or kind is SortedSet:
        return dict(value.items())
    return sorted(value) if kind is Set else list(value)


def groups(stream: Stream) -> list[Any]:
    return [
        (
            name,
            group.last_id,
            group.entries_read,
            [(i, one.consumer, one.delivered_ms, one.deliveries) for i, one in pending.items()],
            {
                name: (one.seen_ms, [i for i, _ in one.pending.items()])
                for name, one in consumers.items()
            },
        )
        for name, group in stream.groups.items()
        for pending, consumers in [(group.pending, group.consumers)]
    ]


def contents(tables: list[Any]) -> list[dict[bytes, Any]]:
    return [
        {key: (plain(entry.value), entry.expire_ms) for key, entry in table.items()}
        for table in tables
    ]


def resealed(data: bytes) -> bytes:
    """The snapshot with its checksum put right."""
    return data[:-8] + crc64_redis(data[:-8]).to_bytes(8, "little")


def assert_loads_or_refuses(data: bytes) -> None:
    try:
        loaded = load(data)
    except InputError:
        return
    for table in loaded.tables:
        for entry in table.values():
            value = plain(entry.value)
            assert isinstance(value, bytes) or len(value) > 0


@given(keyspaces, st.booleans(), st.integers(1, 200))
def test_round_trip_in_pieces_of_any_size(
    items: list[tuple[int, bytes, Any, int]], compress: bool, chunk_bytes: int
) -> None:
    keyspace = keyspace_of(items)
    loaded = load(snapshot_bytes(keyspace, compress), chunk_bytes)
    assert contents(loaded.tables) == contents([db.table for db in keyspace.databases])
    assert [len(table) for table in loaded.volatile] == [
        len(db.volatile) for db in keyspace.databases
    ]


@given(keyspaces, st.data())
def test_any_flipped_byte_is_found(
    items: list[tuple[int, bytes, Any, int]], data: st.DataObject
) -> None:
    damaged = bytearray(snapshot_bytes(keyspace_of(items), data.draw(st.booleans())))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InputError, match=r"."):
        load(bytes(damaged))


@given(keyspaces, st.data())
def test_any_cut_is_found(items: list[tuple[int, bytes, Any, int]], data: st.DataObject) -> None:
    whole = snapshot_bytes(keyspace_of(items))
    with pytest.raises(InputError, match="cut short"):
        load(whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(max_examples=150)
@given(keyspaces, st.data())
def test_damage_under_a_right_checksum_is_read_or_refused(
    items: list[tuple[int, bytes, Any, int]], data: st.DataObject
) -> None:
    damaged = bytearray(snapshot_bytes(keyspace_of(items), data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(9, len(damaged) - 9))
        damaged[position] = data.draw(st.integers(0, 255))
    assert_loads_or_refuses(resealed(bytes(damaged)))


@settings(max_examples=150)
@given(
    st.integers(0, 30) | st.sampled_from([244, 245, 246, 247, 248, 249, 250, 251, 252, 253]),
    st.binary(max_size=120),
)
def test_arbitrary_bytes_behind_any_opcode_are_read_or_refused(code: int, body: bytes) -> None:
    for version in (b"0003", b"0010", b"0012"):
        assert_loads_or_refuses(resealed(b"REDIS" + version + bytes((code,)) + body + bytes(8)))


@given(values, st.booleans())
def test_a_dumped_value_is_restored(value: Any, compress: bool) -> None:
    payload = dump_value(value, compress)
    assert dump_is_intact(payload)
    assert plain(restore_value(payload)) == plain(value)


@settings(max_examples=150)
@given(values, st.data())
def test_a_damaged_dump_is_refused_or_restored(value: Any, data: st.DataObject) -> None:
    payload = bytearray(dump_value(value))
    position = data.draw(st.integers(0, len(payload) - 11))
    payload[position] ^= data.draw(st.integers(1, 255))
    assert not dump_is_intact(bytes(payload))
    sealed = resealed(bytes(payload))
    assert dump_is_intact(sealed)
    try:
        restored = restore_value(sealed)
    except InputError:
        return
    if type(restored) is SortedSet:
        assert not any(math.isnan(score) for _, score in restored.items())
