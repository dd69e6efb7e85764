"""A snapshot shows one instant, whatever is written while it is read."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.keyspace.database import Keyspace
from cache_server.persistence.snapshot import Snapshot
from cache_server.persistence.snapshot_codec import Loaded, Loader

Contents = list[dict[bytes, tuple[Any, int]]]


def contents(keyspace: Keyspace) -> Contents:
    return [
        {key: (entry.value, entry.expire_ms) for key, entry in db.table.items()}
        for db in keyspace.databases
    ]


def loaded_contents(loaded: Loaded) -> Contents:
    return [
        {key: (entry.value, entry.expire_ms) for key, entry in table.items()}
        for table in loaded.tables
    ]


def load(data: bytes, databases: int = 4) -> Loaded:
    loader = Loader(databases, now_ms=1000)
    loader.feed(data)
    return loader.finish()


def read_all(snapshot: Snapshot, budget_bytes: int = 1000) -> bytes:
    chunks = []
    while chunk := snapshot.next_chunk(budget_bytes):
        assert len(chunk) <= budget_bytes
        chunks.append(chunk)
    snapshot.close()
    return b"".join(chunks)


def filled(keys: int = 1000) -> Keyspace:
    keyspace = Keyspace(4, Random(1))
    keyspace.now_ms = 1000
    for number in range(keys):
        db = keyspace.databases[number % 7 % 3]
        key = b"key:%d" % number
        db.put(key, b"value %d" % number)
        if number % 5 == 0:
            db.set_expiry(key, 10_000 + number)
    return keyspace


def assert_released(keyspace: Keyspace) -> None:
    for db in keyspace.databases:
        assert db.before_write is None
        assert db.table.frozen == 0


def test_an_empty_keyspace() -> None:
    keyspace = Keyspace(4)
    data = read_all(Snapshot(keyspace, [(b"redis-ver", b"7.0.15")]))
    loaded = load(data)
    assert loaded.keys_loaded == 0
    assert loaded.aux == {b"redis-ver": b"7.0.15"}
    assert_released(keyspace)


def test_the_data_comes_back_with_its_expiries() -> None:
    keyspace = filled()
    loaded = load(read_all(Snapshot(keyspace)))
    assert loaded_contents(loaded) == contents(keyspace)
    assert [len(table) for table in loaded.volatile] == [
        len(db.volatile) for db in keyspace.databases
    ]
    assert_released(keyspace)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(100, 3000), st.booleans())
def test_writes_meanwhile_are_not_in_it(seed: int, budget_bytes: int, switch: bool) -> None:
    random = Random(seed)
    keyspace = filled(600)
    before = contents(keyspace)
    snapshot = Snapshot(keyspace)
    data = bytearray()
    while chunk := snapshot.next_chunk(budget_bytes):
        data += chunk
        for _ in range(random.randrange(30)):
            change(keyspace, random, switch)
    snapshot.close()
    assert loaded_contents(load(bytes(data))) == before
    assert_released(keyspace)


def change(keyspace: Keyspace, random: Random, switch: bool) -> None:
    """One change of any kind, anywhere."""
    db = random.choice(keyspace.databases)
    key = b"key:%d" % random.randrange(800)
    kind = random.randrange(40)
    if kind < 15:
        db.put(key, b"new")
    elif kind < 25:
        db.delete(key)
    elif kind < 35 and db.table.get(key) is not None:
        db.set_expiry(key, random.choice([0, 99_999]))
    elif kind == 36 and switch:
        db.clear()
    elif kind == 37 and switch:
        other = random.choice(keyspace.databases)
        db.table, other.table = other.table, db.table
        db.volatile, other.volatile = other.volatile, db.volatile


def test_two_snapshots_at_once_show_their_own_instants() -> None:
    keyspace = filled()
    first_contents = contents(keyspace)
    first = Snapshot(keyspace)
    data = first.next_chunk(500)
    keyspace.databases[0].put(b"between", b"x")
    second_contents = contents(keyspace)
    second = Snapshot(keyspace)
    for number in range(0, 1000, 3):
        keyspace.databases[number % 7 % 3].delete(b"key:%d" % number)
    assert loaded_contents(load(data + read_all(first))) == first_contents
    assert loaded_contents(load(read_all(second))) == second_contents
    assert_released(keyspace)


def test_a_snapshot_given_up_leaves_nothing_behind() -> None:
    keyspace = filled()
    snapshot = Snapshot(keyspace)
    snapshot.next_chunk(100)
    snapshot.close()
    snapshot.close()
    assert_released(keyspace)


def test_an_emptied_table_is_read_from_the_snapshot_alone() -> None:
    keyspace = filled()
    before = contents(keyspace)
    snapshot = Snapshot(keyspace)
    for db in keyspace.databases:
        db.clear()
        db.put(b"new", b"data")
    assert loaded_contents(load(read_all(snapshot))) == before


def test_progress_is_counted() -> None:
    keyspace = filled()
    snapshot = Snapshot(keyspace)
    assert (snapshot.keys_done, snapshot.keys_total) == (0, 1000)
    keyspace.databases[0].put(b"key:0", b"new")
    assert snapshot.early_bytes > 0
    assert snapshot.buffered_bytes > snapshot.early_bytes
    read_all(snapshot)
    assert snapshot.keys_done == 1000
    assert snapshot.ended


@pytest.mark.parametrize("checksum", [True, False])
def test_the_trailer_is_the_checksum_or_zero(checksum: bool) -> None:
    data = read_all(Snapshot(filled(10), checksum=checksum))
    assert (data[-8:] == bytes(8)) is not checksum
    assert load(data).keys_loaded == 10
