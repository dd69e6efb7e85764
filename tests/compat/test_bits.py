"""Bitmaps: any sequence of requests gets redis-server's replies and leaves the same keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.both import Pair, both, needs_redis, pairs, thorough

pytestmark = [pytest.mark.integration, needs_redis]

KEYS = st.sampled_from(["k1", "k2", "k3", "list"])
NUMBERS = st.one_of(
    st.integers(-70, 70).map(str),
    st.sampled_from(["0", "7", "8", "-1", "1000", "x", "", "01", str(2**63 - 1), str(-(2**63))]),
)
OFFSETS = st.one_of(
    st.integers(0, 130).map(str),
    st.sampled_from(["-1", "x", "4294967296", str(2**63), "#1", "#3", "#-1", "##"]),
)
BITS = st.sampled_from(["0", "1", "1", "0", "2", "-1", "x"])
UNITS = st.sampled_from([[], [], ["BIT"], ["byte"], ["Bit"], ["x"], ["bit", "bit"]])
KINDS = st.one_of(
    st.builds("{}{}".format, st.sampled_from("ui"), st.integers(1, 63)),
    st.sampled_from(["i64", "u64", "i65", "u0", "x8", "u", "u08", ""]),
)
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str), st.integers(-300, 300).map(str), NUMBERS
)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["GET", "get"]), KINDS, OFFSETS),
    st.tuples(st.sampled_from(["SET", "incrby"]), KINDS, OFFSETS, VALUES),
    st.tuples(st.just("OVERFLOW"), st.sampled_from(["WRAP", "sat", "FAIL", "x"])),
    st.tuples(st.sampled_from(["GET", "SET", "u8", "overflow"])),
)


def flat(steps: list[tuple[str, ...]]) -> list[str]:
    return [word for step in steps for word in step]


RANGES = st.one_of(
    st.just([]),
    st.lists(NUMBERS, max_size=3),
    st.builds(lambda a, b, unit: [a, b, *unit], NUMBERS, NUMBERS, UNITS),
)
REQUESTS = st.one_of(
    st.tuples(st.just("SET"), KEYS, st.binary(max_size=20)),
    st.tuples(st.just("APPEND"), KEYS, st.sampled_from([b"\xff" * 9, b"\0" * 9, b"5"])),
    st.tuples(st.just("INCRBY"), KEYS, st.just("100")),
    st.tuples(st.just("SETBIT"), KEYS, OFFSETS, BITS),
    st.tuples(st.just("GETBIT"), KEYS, OFFSETS),
    st.builds(lambda key, more: ("BITCOUNT", key, *more), KEYS, RANGES),
    st.builds(lambda key, bit, more: ("BITPOS", key, bit, *more), KEYS, BITS, RANGES),
    st.builds(
        lambda name, target, keys: ("BITOP", name, target, *keys),
        st.sampled_from(["AND", "or", "XOR", "not", "x"]),
        KEYS,
        st.lists(KEYS, min_size=1, max_size=4),
    ),
    st.builds(
        lambda name, key, steps: (name, key, *flat(steps)),
        st.sampled_from(["BITFIELD", "BITFIELD", "BITFIELD_RO"]),
        KEYS,
        st.lists(STEPS, max_size=4),
    ),
    st.tuples(st.just("OBJECT"), st.just("ENCODING"), KEYS),
    st.tuples(st.just("DEL"), KEYS),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with both(tmp_path_factory.mktemp("both")) as ports, pairs(*ports) as clients:
        yield clients


@thorough
@given(protocol=st.sampled_from("23"), requests=st.lists(REQUESTS, min_size=1, max_size=30))
def test_any_requests_get_equal_replies_and_leave_equal_keys(
    pair: Pair, protocol: str, requests: list[tuple[str | bytes, ...]]
) -> None:
    pair.begin(protocol, [["RPUSH", "list", "a"]])
    for words in requests:
        pair.same(*words)
    pair.same_keys()
