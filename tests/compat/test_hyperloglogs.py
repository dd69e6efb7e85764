"""HyperLogLogs: any requests, damaged values too, leave redis-server's bytes in every key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.both import Pair, RawClient, both, needs_redis, pairs, thorough

pytestmark = [pytest.mark.integration, needs_redis]

Words = list[str | bytes]
KEYS = st.sampled_from(["k1", "k2", "k3", "list", "number"])
HEADER = b"HYLL%b\0\0\0%b"
VALID, STALE = bytes(8), bytes(7) + b"\x80"
#: Sparse values whose runs may or may not cover all registers.
RUNS = st.lists(
    st.one_of(
        st.integers(0, 255).map(lambda byte: bytes([byte])),
        st.sampled_from([b"\x7f\xff", b"\x40\x10", b"\x3f", b"\x84\x84", b"\x5f\xff"]),
    ),
    max_size=8,
)
DAMAGED = st.builds(
    lambda encoding, cache, runs: HEADER % (encoding, cache) + b"".join(runs),
    st.sampled_from([b"\1", b"\1", b"\1", b"\0", b"\2"]),
    st.sampled_from([VALID, STALE]),
    RUNS,
)
DENSE = st.binary(min_size=1, max_size=64).map(
    lambda part: HEADER % (b"\0", STALE) + (part * 12288)[:12288]
)
REQUESTS = st.one_of(
    st.builds(
        lambda key, start, count: ["PFADD", key, *map(str, range(start, start + count))],
        KEYS,
        st.integers(0, 2000),
        st.sampled_from([0, 1, 5, 100, 700, 3000]),
    ),
    st.builds(lambda key, words: ["PFADD", key, *words], KEYS, st.lists(st.binary(max_size=20))),
    st.builds(lambda keys: ["PFCOUNT", *keys], st.lists(KEYS, min_size=1, max_size=3)),
    st.builds(lambda keys: ["PFMERGE", *keys], st.lists(KEYS, min_size=1, max_size=3)),
    st.builds(
        lambda word, key: ["PFDEBUG", word, key],
        st.sampled_from(["ENCODING", "decode", "todense", "x", "GETREG"]),
        KEYS,
    ),
    st.tuples(st.just("DEL"), KEYS).map(list),
)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with both(tmp_path_factory.mktemp("both")) as found:
        yield found


@pytest.fixture(scope="module")
def pair(ports: tuple[int, int]) -> Iterator[Pair]:
    with pairs(*ports) as clients:
        yield clients


@thorough
@given(protocol=st.sampled_from("23"), requests=st.lists(REQUESTS, min_size=1, max_size=20))
def test_any_requests_get_equal_replies_and_leave_equal_bytes(
    pair: Pair, protocol: str, requests: list[Words]
) -> None:
    pair.begin(protocol, [["RPUSH", "list", "a"], ["SET", "number", "12345678901234567"]])
    for words in requests:
        pair.same(*words)
    pair.same_keys()


@thorough
@given(
    values=st.lists(st.one_of(DAMAGED, DENSE, st.binary(max_size=30)), min_size=1, max_size=3),
    requests=st.lists(REQUESTS, min_size=1, max_size=6),
)
def test_damaged_values_are_refused_as_by_redis(
    pair: Pair, values: list[bytes], requests: list[Words]
) -> None:
    pair.begin("2", [["SET", f"k{n}", value] for n, value in enumerate(values, 1)])
    for words in requests:
        pair.same(*words)


@pytest.mark.parametrize("bytes_max", ["0", "100", "3000", "16000"])
def test_the_limit_of_sparse_values_decides_when_they_become_dense(
    pair: Pair, bytes_max: str
) -> None:
    pair.begin("2", [["CONFIG", "SET", "hll-sparse-max-bytes", bytes_max]])
    for start in range(0, 6000, 100):
        pair.same("PFADD", "k1", *map(str, range(start, start + 100)))
        pair.same("STRLEN", "k1")
    pair.same("PFCOUNT", "k1")
    pair.same_keys()
    pair.begin("2", [["CONFIG", "SET", "hll-sparse-max-bytes", "3000"]])


def test_a_dump_is_restored_by_the_other_and_counts_the_same(ports: tuple[int, int]) -> None:
    with closing(RawClient(ports[0])) as ours, closing(RawClient(ports[1])) as theirs:
        for source, target in ((ours, theirs), (theirs, ours)):
            for client in (source, target):
                client("FLUSHALL")
            for key, size in (("few", 300), ("many", 20000)):
                for start in range(0, size, 100):
                    source("PFADD", key, *map(str, range(start, start + 100)))
                payload = source("DUMP", key).split(b"\r\n", 1)[1][:-2]
                assert target("RESTORE", key, "0", payload) == b"+OK\r\n"
                assert target("PFCOUNT", key) == source("PFCOUNT", key)
                assert target("GET", key) == source("GET", key)
