"""The parts of a snapshot: the compiled form and its twin write the same bytes, and stock ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.datatypes.hashes import Hash
from cache_server.datatypes.list_value import List
from cache_server.datatypes.sets import Set
from cache_server.datatypes.sorted_sets import SortedSet
from cache_server.persistence import snapshot_parts
from cache_server.persistence.lzf import Compressor
from cache_server.persistence.snapshot_codec import Encoder, dump_value, restore_value
from cache_server.structures.entry import make_entry

#: Around the bounds of lengths, of compression, and of what lies in one block.
SIZES = (0, 1, 20, 21, 63, 64, 255, 256, 1025, 16383, 16384)


def pure_twin() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "cache_server/persistence/snapshot_parts.py"
    spec = importlib.util.spec_from_file_location("snapshot_parts_twin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["in use", "twin"], scope="module")
def parts(request: pytest.FixtureRequest) -> Any:
    return snapshot_parts if request.param == "in use" else pure_twin()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "00"),
        (63, "3f"),
        (64, "4040"),
        (16383, "7fff"),
        (16384, "8000004000"),
        (2**32 - 1, "80ffffffff"),
        (2**32, "810000000100000000"),
        (2**64 - 1, "81ffffffffffffffff"),
    ],
)
def test_numbers(parts: Any, value: int, expected: str) -> None:
    out = bytearray(b"before")
    parts.append_number(out, value)
    assert out == b"before" + bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-1, b"\xc0\xff"),
        (127, b"\xc0\x7f"),
        (128, b"\xc1\x80\x00"),
        (-32768, b"\xc1\x00\x80"),
        (32768, b"\xc2\x00\x80\x00\x00"),
        (-(2**31), b"\xc2\x00\x00\x00\x80"),
        (2**31, b"\x0a2147483648"),
        (-(2**63), b"\x14-9223372036854775808"),
    ],
)
def test_integers(parts: Any, value: int, expected: bytes) -> None:
    out = bytearray()
    parts.append_integer(out, value)
    assert out == expected


def test_scores_and_times_are_little_endian(parts: Any) -> None:
    out = bytearray()
    parts.append_score(out, 1.0)
    parts.append_score(out, float("-inf"))
    parts.append_ms(out, -2)
    assert out.hex() == "000000000000f03f000000000000f0fffeffffffffffffff"


def test_a_string_is_compressed_where_that_pays(parts: Any) -> None:
    out = bytearray()
    parts.append_string(out, b"x" * 20, Compressor())
    assert out == b"\x14" + b"x" * 20
    out.clear()
    parts.append_string(out, b"x" * 100, Compressor())
    assert out[0] == 0xC3
    assert len(out) < 20
    out.clear()
    parts.append_string(out, bytes(range(100)), Compressor())
    assert out == b"\x40\x64" + bytes(range(100))


def test_other_values_are_left_alone(parts: Any) -> None:
    out = bytearray()
    assert not parts.append_elements(out, b"a string", None)
    assert out == b""


def words(count: int, size: int) -> list[bytes]:
    return [b"%d" % number + b"w" * size for number in range(count)]


def values() -> Iterator[Any]:
    for count in (0, 1, 10, 63, 64, 65, 128, 129, 700):
        for size in SIZES[: 4 if count > 65 else 9]:
            some = words(count, size)
            yield List(some)
            yield Set(some)
            yield Hash((word, word[::-1]) for word in some)
            yield Hash((b"%d" % number, word) for number, word in enumerate(some))
            yield SortedSet((word, -number / 3) for number, word in enumerate(some))
    pushed = List()
    for word in words(300, 3):
        pushed.push_left(word)
    yield pushed


def test_a_value_as_a_whole_is_its_elements_one_by_one(parts: Any) -> None:
    for value in values():
        for compressor in (None, Compressor):
            out = bytearray(b"before")
            assert parts.append_elements(out, value, compressor and compressor())
            expected = bytearray(b"before")
            one_by_one(parts, expected, value, compressor and compressor())
            assert out == expected


def one_by_one(parts: Any, out: bytearray, value: Any, compressor: Any) -> None:
    parts.append_number(out, len(value))
    for item in value.items() if hasattr(value, "items") else value:
        if isinstance(value, SortedSet):
            parts.append_string(out, item[0], compressor)
            parts.append_score(out, item[1])
        else:
            for word in item if isinstance(value, Hash) else (item,):
                parts.append_string(out, word, compressor)


scores = st.floats(allow_nan=False)
small = st.binary(max_size=300)
any_value = st.one_of(
    small,
    st.integers(-(2**63), 2**63 - 1),
    st.lists(small, min_size=1).map(List),
    st.sets(small, min_size=1).map(Set),
    st.dictionaries(small, small, min_size=1).map(lambda pairs: Hash(pairs.items())),
    st.dictionaries(small, scores, min_size=1).map(lambda pairs: SortedSet(pairs.items())),
)


@given(any_value, st.booleans())
def test_what_is_written_is_read_back(value: Any, compress: bool) -> None:
    payload = dump_value(value, compress)
    again = restore_value(payload)
    if isinstance(value, bytes | int):
        as_text = b"%d" % value if isinstance(value, int) else value
        assert (b"%d" % again if isinstance(again, int) else again) == as_text
    else:
        assert dump_value(again, compress) == payload or isinstance(value, Set)
        assert len(again) == len(value)


@pytest.mark.parametrize("compress", [False, True])
def test_large_values_are_the_same_in_steps_and_as_a_whole(compress: bool) -> None:
    some = words(3000, 25)
    for value in (
        List(some),
        Set(some),
        Hash((word, word) for word in some),
        SortedSet((word, number) for number, word in enumerate(some)),
    ):
        entry = make_entry(b"key", value, 0)
        in_steps, whole = Encoder(compress), Encoder(compress)
        assert sum(1 for _ in in_steps.steps(b"key", entry)) > 1
        whole.entry(b"key", entry)
        assert in_steps.out == whole.out
