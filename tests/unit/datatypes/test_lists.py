"""List against a Python list, through every operation and across chunk borders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.datatypes.list_value import LIST_CHUNK_ITEMS, LIST_END_ITEMS, List

ITEMS = st.sampled_from([b"a", b"b", b"c"])
SIZES = st.sampled_from(
    [0, 1, 5, 3 * LIST_CHUNK_ITEMS]
    + [size + more for size in (LIST_END_ITEMS, LIST_CHUNK_ITEMS) for more in (-1, 0, 1)]
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("push_left"), ITEMS, SIZES),
        st.tuples(st.just("push_right"), ITEMS, SIZES),
        st.tuples(st.just("pop_many"), st.booleans(), SIZES),
        st.tuples(st.just("pop"), st.booleans(), SIZES),
        st.tuples(st.just("insert"), ITEMS, st.booleans()),
        st.tuples(st.just("remove"), ITEMS, st.integers(-5, 5)),
        st.tuples(st.just("set"), st.integers(0, 1000), ITEMS),
        st.tuples(st.just("trim"), st.integers(0, 300), st.integers(0, 300)),
        st.tuples(st.just("copy"), st.none(), st.none()),
    ),
    max_size=25,
)


def check(value: List, model: list[bytes]) -> None:
    """Contents, length, and the invariants of the row of chunks."""
    assert list(value) == model
    assert len(value) == value.size == len(model)
    chunks = value.chunks()
    assert all(0 < len(chunk) <= LIST_CHUNK_ITEMS for chunk in chunks) or chunks == [[]]
    assert (value.front is value.back) == (len(chunks) == 1)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % index for index in range(count)]


def remove(model: list[bytes], item: bytes, count: int) -> int:
    """The model's LREM."""
    places = [index for index, other in enumerate(model) if other == item]
    if count > 0:
        places = places[:count]
    elif count < 0:
        places = places[count:]
    for index in reversed(places):
        del model[index]
    return len(places)


def step(value: List, model: list[bytes], operation: str, first: Any, second: Any) -> List:
    """Does one operation on both and compares what it returns."""
    if operation == "push_left":
        for _ in range(second):
            model.insert(0, first)
            assert value.push_left(first) == len(model)
    elif operation == "push_right":
        for _ in range(second):
            model.append(first)
            assert value.push_right(first) == len(model)
    elif operation == "pop_many":
        expected = [model.pop(0 if first else -1) for _ in range(min(second, len(model)))]
        assert value.pop_many(second, first) == expected
    elif operation == "pop":
        for _ in range(min(second, len(model))):
            assert (value.pop_left() if first else value.pop_right()) == model.pop(
                0 if first else -1
            )
    elif operation == "insert":
        found = first in model
        assert value.insert(first, b"new", second) == found
        if found:
            model.insert(model.index(first) + second, b"new")
    elif operation == "remove":
        assert value.remove(first, second) == remove(model, first, second)
    elif operation == "set" and first < len(model):
        value.set(first, second)
        model[first] = second
    elif operation == "trim":
        value.drop_left(min(first, len(model)))
        del model[:first]
        value.drop_right(min(second, len(model)))
        del model[max(0, len(model) - second) :]
    elif operation == "copy":
        value = value.copy()
    return value


@settings(max_examples=150, deadline=None)
@given(SIZES, OPERATIONS)
def test_any_operations_give_what_a_plain_list_gives(
    size: int, operations: list[tuple[str, Any, Any]]
) -> None:
    model = numbered(size)
    value = List(model)
    for operation, first, second in operations:
        value = step(value, model, operation, first, second)
        check(value, model)


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(0, 900), st.integers(0, 3900), st.integers(0, 3900))
def test_slices_and_indexes_are_those_of_a_plain_list(
    size: int, pushed: int, start: int, stop: int
) -> None:
    model = numbered(size)
    value = List(model)
    for index in range(pushed):
        value.push_left(b"l%d" % index)
        model.insert(0, b"l%d" % index)
    start, stop = sorted((min(start, len(model)), min(stop, len(model))))
    assert value.slice(start, stop) == model[start:stop]
    if start < len(model):
        assert value.get(start) == model[start]


@settings(deadline=None)
@given(
    st.lists(ITEMS, max_size=1200),
    ITEMS,
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 4),
    st.integers(0, 1200),
)
def test_positions_are_those_of_a_plain_search(
    model: list[bytes], item: bytes, rank: int, backwards: bool, count: int, length_max: int
) -> None:
    value = List(model)
    order = range(len(model) - 1, -1, -1) if backwards else range(len(model))
    looked_at = list(order)[: length_max or len(model)]
    matches = [index for index in looked_at if model[index] == item][rank - 1 :]
    found = value.positions(item, -rank if backwards else rank, count, length_max)
    assert found == (matches[:count] if count else matches)


def test_a_copy_shares_nothing_that_changes() -> None:
    value = List(numbered(300))
    twin = value.copy()
    value.push_left(b"x")
    value.set(200, b"y")
    assert list(twin) == numbered(300)


@pytest.mark.parametrize("size", [0, 1, 100, 1000])
def test_memory_grows_with_length_and_contents(size: int) -> None:
    small = List([b"x" * 10] * size)
    large = List([b"x" * 1000] * size)
    assert small.memory_bytes(0) == small.memory_bytes(5)
    assert large.memory_bytes(5) - small.memory_bytes(5) == 990 * size


def test_joined_chunks_keep_a_thinned_list_compact() -> None:
    value = List([b"keep" if index % 64 == 0 else b"drop" for index in range(6400)])
    assert value.remove(b"drop", 0) == 6300
    assert len(value.chunks()) <= 3
    check(value, [b"keep"] * 100)
