"""SORT: any request gets redis-server's reply and leaves the same keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.both import Pair, both, needs_redis, pairs, thorough

pytestmark = [pytest.mark.integration, needs_redis]

Words = list[str | bytes]
MEMBERS = ["1", "2", "3", "-4", "5.5", "0x10", " 7", "1e3", ""]
KEYS = st.sampled_from(["list", "set", "zset", "d", "w1", "none"])
PATTERNS = ["#", "w*", "w*->f", "h*->f", "h*->", "h*", "*", "w", "", "h1->f", "x*y*->f"]


def setup() -> list[Words]:
    """One value of each type, and weights of which no two are equal."""
    made: list[Words] = [["RPUSH", "list", *MEMBERS, "1", "2"], ["SADD", "set", *MEMBERS]]
    made.append(["ZADD", "zset", *(w for n, m in enumerate(MEMBERS) for w in (str(-n), m))])
    for number, member in enumerate(MEMBERS):
        made += [["SET", f"w{member}", str(number * 37 % 11)]]
        made += [["HSET", f"h{member}", "f", str(number * 41 % 13), "->", "arrow"]]
    return made


NUMBERS = st.sampled_from(["0", "1", "2", "5", "-1", "-5", "100", "x", str(2**63)])
OPTIONS = st.one_of(
    st.sampled_from([["ASC"], ["desc"], ["ALPHA"], ["x"], ["LIMIT"], ["BY"], ["get"], ["STORE"]]),
    st.builds(lambda a, b: ["LIMIT", a, b], NUMBERS, NUMBERS),
    st.builds(lambda a: ["BY", a], st.sampled_from(["w*", "h*->f", "nosort", "w"])),
    st.builds(lambda a: ["GET", a], st.sampled_from(PATTERNS)),
    st.just(["STORE", "d"]),
)
REQUESTS = st.builds(
    lambda name, key, options: [name, key, *(word for option in options for word in option)],
    st.sampled_from(["SORT", "SORT", "sort_ro"]),
    KEYS,
    st.lists(OPTIONS, max_size=5),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with both(tmp_path_factory.mktemp("both")) as ports, pairs(*ports) as clients:
        yield clients


def has_an_order(words: Words) -> bool:
    """Whether the reply's order is SORT's to choose: a set that is not sorted has none."""
    upper = [word.upper() if isinstance(word, str) else word for word in words]
    by = [upper[n + 1] for n, word in enumerate(upper[:-1]) if word == "BY"]
    return "STORE" in upper or "set" not in words or not by or "*" in str(by[-1])


@thorough
@given(protocol=st.sampled_from("23"), requests=st.lists(REQUESTS, min_size=1, max_size=30))
def test_any_requests_get_equal_replies_and_leave_equal_keys(
    pair: Pair, protocol: str, requests: list[Words]
) -> None:
    pair.begin(protocol, setup())
    for words in filter(has_an_order, requests):
        pair.same(*words)
    pair.same("LRANGE", "d", "0", "-1")
    pair.same("OBJECT", "ENCODING", "zset")
