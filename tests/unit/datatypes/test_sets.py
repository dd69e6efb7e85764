"""Set against a Python set, and the fairness of its choices."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.datatypes import sets
from cache_server.datatypes.sets import Set

MEMBERS = st.integers(0, 300).map(lambda number: b"%d" % number)
GROUPS = st.lists(st.none() | st.sets(MEMBERS, max_size=60), min_size=1, max_size=4)


def numbered(count: int) -> list[bytes]:
    return [b"m%d" % index for index in range(count)]


def chi_square(counts: Counter[bytes], members: int) -> float:
    """Pearson's statistic of counts that should be equal."""
    expected = sum(counts.values()) / members
    missing = members - len(counts)
    return missing * expected + sum((c - expected) ** 2 / expected for c in counts.values())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(MEMBERS, max_size=80)), max_size=20))
def test_adding_and_removing_give_what_a_plain_set_gives(
    operations: list[tuple[bool, list[bytes]]],
) -> None:
    value, model = Set(), set[bytes]()
    for adds, members in operations:
        for member in members:
            if adds:
                assert value.add(member, 512) == (member not in model)
                model.add(member)
            else:
                assert value.discard(member) == (member in model)
                model.discard(member)
        assert set(value) == set(value.members()) == model
        assert len(value) == len(model)
        assert all((b"%d" % number in value) == (b"%d" % number in model) for number in range(9))


@given(GROUPS, st.integers(0, 5))
def test_set_algebra_is_that_of_plain_sets(groups: list[set[bytes] | None], limit: int) -> None:
    values = [None if group is None else Set(group) for group in groups]
    plain = [group or set() for group in groups]
    intersection = set.intersection(*plain)
    assert set(sets._intersection(values)) == intersection
    assert len(sets._intersection(values, limit)) == min(limit or 999, len(intersection))
    assert set(sets._union(values)) == set.union(*plain)
    assert set(sets._difference(values)) == plain[0].difference(*plain[1:])


@pytest.mark.parametrize(
    ("members", "encoding"),
    [
        ([], b"intset"),
        ([b"1", b"-5", b"9223372036854775807"], b"intset"),
        ([b"%d" % number for number in range(10)], b"intset"),
        ([b"%d" % number for number in range(11)], b"hashtable"),
        ([b"9223372036854775808"], b"hashtable"),
        ([b"01"], b"hashtable"),
        ([b"1", b"a"], b"hashtable"),
    ],
)
def test_integers_up_to_the_limit_are_an_intset(members: list[bytes], encoding: bytes) -> None:
    assert Set(members, 10).encoding == encoding


def test_an_encoding_never_goes_back_and_a_copy_keeps_it() -> None:
    value = Set([b"1", b"a"])
    value.discard(b"a")
    assert value.encoding == b"hashtable"
    assert value.copy().encoding == b"hashtable"
    assert Set([b"1"]).copy().encoding == b"intset"


def test_a_copy_shares_nothing() -> None:
    value = Set(numbered(300))
    twin = value.copy()
    value.discard(b"m0")
    assert set(twin) == set(numbered(300))


@pytest.mark.parametrize("size", [1, 7, 64, 500])
@pytest.mark.parametrize("count", [1, 3, 50, 499, 500, 10**18])
def test_a_sample_has_different_members_and_the_size_asked_for(size: int, count: int) -> None:
    sample = Set(numbered(size)).sample(Random(1), count)
    assert len(sample) == len(set(sample)) == min(count, size)
    assert set(sample) <= set(numbered(size))


@pytest.mark.parametrize("way", ["random_member", "draw few", "draw many", "sample few", "sample"])
@pytest.mark.parametrize("size", [20, 200])
def test_every_member_is_chosen_equally_often(way: str, size: int) -> None:
    value = Set(numbered(size))
    rng = Random(size)
    counts: Counter[bytes] = Counter()
    choose: dict[str, Any] = {
        "random_member": lambda: [value.random_member(rng)],
        "draw few": lambda: value.draw(rng, 2),
        "draw many": lambda: value.draw(rng, size),
        "sample few": lambda: value.sample(rng, size // 10),
        "sample": lambda: value.sample(rng, size // 2),
    }
    while sum(counts.values()) < 100 * size:
        counts.update(choose[way]())
    # Mean size - 1, variance twice that: six deviations away is never met by a fair choice.
    assert chi_square(counts, size) < size + 6 * (2 * size) ** 0.5


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_memory_grows_with_the_members(size: int) -> None:
    small, large = Set(numbered(size)), Set([b"x" * 1000 + m for m in numbered(size)])
    # Other names fall into other buckets, so the tables differ a little.
    grown = large.memory_bytes(0) - small.memory_bytes(0)
    assert grown == pytest.approx(1000 * size, rel=0.02)
