"""Table: as a dict, plus the scan's and the sample's promises, growing and shrinking on the way."""

from __future__ import annotations

import sys
from collections import Counter
from random import Random

import pytest

from cache_server.structures.entry import Entry, make_entry
from cache_server.structures.table import Table, table_of


def key(number: int) -> bytes:
    return b"key:%d" % number


def full_scan(table: Table, count: int = 10) -> list[bytes]:
    cursor, keys = table.scan(0, count)
    while cursor:
        cursor, more = table.scan(cursor, count)
        keys += more
    return keys


@pytest.mark.parametrize("entries", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_behaves_as_a_dict_through_growth_and_shrinking(seed: int, entries: bool) -> None:
    rng = Random(seed)
    table: Table = Table.of_entries() if entries else Table()
    model: dict[bytes, int | Entry] = {}
    for phase in (0.9, 0.3, 0.7, 0.05):
        for step in range(6000):
            name = key(rng.randrange(4000))
            if rng.random() < phase:
                value = make_entry(name, step, 0) if entries else step
                assert table.set(name, value) == (name not in model)
                model[name] = value
            elif rng.random() < 0.5:
                assert table.pop(name) == model.pop(name, None)
            else:
                assert table.discard(name) == (model.pop(name, None) is not None)
            assert len(table) == len(model)
        assert dict(table.items()) == model
        assert (
            sorted(table) == sorted(table.keys_list()) == sorted(full_scan(table)) == sorted(model)
        )
        assert all(table.get(name) == value and name in table for name, value in model.items())
        assert table.get(b"absent") is None
    table.clear()
    assert len(table) == 0
    assert full_scan(table) == []


def test_a_table_of_entries_keeps_long_empty_and_binary_keys_apart() -> None:
    names = [b"", b"\0", b"\0\0", b"a" * 5000, b"a" * 4999 + b"b", *map(key, range(500))]
    table = Table.of_entries()
    for number, name in enumerate(names):
        assert table.set(name, make_entry(name, number, 7))
    for number, name in enumerate(names):
        entry: Entry = table.get(name)
        assert (entry.value, entry.expire_ms, entry.access) == (number, 0, 7)
    assert sorted(table.keys_list()) == sorted(names)


def test_keeps_the_order_of_insertion_while_small() -> None:
    table = Table()
    for number in range(100, 0, -1):
        table.set(key(number), number)
    assert list(table.values()) == list(range(100, 0, -1))


@pytest.mark.parametrize("change", ["grow", "shrink"])
def test_scan_returns_all_that_stays_while_the_table_changes(change: str) -> None:
    table = Table()
    stay = {key(number) for number in range(2000)}
    for name in stay:
        table.set(name, None)
    extra = [b"extra:%d" % number for number in range(6000)]
    if change == "shrink":
        for name in extra:
            table.set(name, None)
    seen, cursor = set(), 0
    while True:
        cursor, keys = table.scan(cursor, 10)
        seen.update(keys)
        for name in [extra.pop() for _ in range(min(40, len(extra)))]:
            table.set(name, None) if change == "grow" else table.discard(name)
        if cursor == 0:
            break
    assert stay <= seen


def test_a_walk_by_bucket_sees_each_key_once_while_frozen() -> None:
    table = Table()
    for number in range(3000):
        table.set(key(number), number)
    table.frozen += 1
    buckets = table.bucket_count()
    seen: list[bytes] = []
    for index in range(buckets):
        for name, _ in table.bucket_items(index):
            assert table.bucket_index(name) == index
            seen.append(name)
        table.set(b"new:%d" % index, None)
    assert table.bucket_count() == buckets
    assert Counter(name for name in seen if name.startswith(b"key:")) == Counter(
        key(number) for number in range(3000)
    )
    table.frozen -= 1
    table.set(b"last", None)
    with pytest.raises(IndexError):
        table.bucket_items(10**6)


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_each_key_is_drawn_equally_often(size: int) -> None:
    table = Table()
    for number in range(size):
        table.set(key(number), None)
    rng = Random(7)
    drawn = Counter(table.random_key(rng) for _ in range(size * 40))
    assert len(drawn) == size
    expected = 40
    chi_square = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert chi_square < size + 6 * (2 * size) ** 0.5 + 1


def test_an_empty_table_has_no_random_key() -> None:
    assert Table().random_key(Random(1)) is None


@pytest.mark.parametrize("entries", [False, True])
def test_releases_what_it_held(entries: bool) -> None:
    value = object()
    before = sys.getrefcount(value)
    table: Table = Table.of_entries() if entries else Table()

    def put(name: bytes, held: object) -> None:
        table.set(name, make_entry(name, held, 0) if entries else held)

    for number in range(1000):
        put(key(number), value)
    for number in range(0, 1000, 3):
        table.discard(key(number))
    for number in range(1, 1000, 3):
        put(key(number), None)
    assert sys.getrefcount(value) - before == 333
    table.clear()
    assert sys.getrefcount(value) == before


@pytest.mark.parametrize("size", [0, 1, 10, 128, 129, 5000])
def test_a_table_of_keys_is_as_one_that_was_filled(size: int) -> None:
    keys = [key(number) for number in range(size)]
    table, filled = table_of(keys, list(range(size))), Table()
    for number in range(size):
        filled.set(keys[number], number)
    assert list(table.items()) == list(filled.items())
    assert table.used == size
    assert table.longest_key() == max(map(len, keys), default=0)
    assert dict(table_of(keys, None).items()) == dict.fromkeys(keys, True)
    assert table.set(b"another", 1)
    assert len(table) == size + 1
    assert table_of([*keys, *keys], None).used == size
