"""SortedBlocks against a sorted list."""

from __future__ import annotations

from bisect import bisect_left, insort
from random import Random
from sys import getrefcount

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.constants import SORTED_BLOCK_PAIRS
from cache_server.structures.sorted_blocks import SortedBlocks, blocks_of

Pair = tuple[float, bytes]


def check(order: SortedBlocks, model: list[Pair]) -> None:
    assert len(order) == len(model)
    assert list(order.items()) == [(member, score) for score, member in model]
    sizes = order.block_sizes()
    assert sum(sizes) == len(model)
    assert max(sizes) <= SORTED_BLOCK_PAIRS
    assert all(sizes) or sizes == [0]


def check_ranks(order: SortedBlocks, model: list[Pair], rng: Random) -> None:
    for _ in range(20):
        score, member = float(rng.randrange(60)), b"%d" % rng.randrange(5000)
        assert order.rank(score, member) == bisect_left(model, (score, member))
        below = bisect_left(model, (score, b""))
        through = bisect_left(model, (score + 1, b""))
        assert order.rank_of_score(score, False) == below
        assert order.rank_of_score(score, True) == through
        start = rng.randrange(-5, len(model) + 5)
        stop = start + rng.choice([0, 1, 10, 3000])
        expected = model[max(0, start) : max(0, stop)]
        assert order.member_slice(start, stop) == [member for _, member in expected]
        assert order.score_slice(start, stop) == [score for score, _ in expected]
        if model:
            rank = rng.randrange(len(model))
            assert order.at(rank) == (model[rank][1], model[rank][0])


def step(order: SortedBlocks, model: list[Pair], grow: int, rng: Random) -> None:
    choice = rng.randrange(100)
    score = float(rng.randrange(60))
    if choice < grow or not model:
        pair = (score, b"%d" % rng.randrange(10**9))
        insort(model, pair)
        order.add(*pair)
    elif choice < 97:
        pair = model[rng.randrange(len(model))]
        if choice % 4 == 0:
            assert order.pop_first() == model.pop(0)[::-1]
        elif choice % 4 == 1:
            assert order.pop_last() == model.pop()[::-1]
        elif choice % 4 == 2:
            model.remove(pair)
            order.remove(*pair)
        else:
            model.remove(pair)
            insort(model, (score, pair[1]))
            order.move(pair[0], score, pair[1])
    elif choice == 99:
        start = rng.randrange(len(model))
        stop = start + rng.choice([1, 5, 100, 1500])
        assert order.remove_slice(start, stop) == [member for _, member in model[start:stop]]
        del model[start:stop]
    else:
        order.rank(score, b"5")  # makes the counts, so that what follows has to keep them


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5000), st.lists(st.integers(5, 95), max_size=4))
def test_any_sequence_of_changes_agrees_with_a_sorted_list(
    seed: int, size: int, phases: list[int]
) -> None:
    rng = Random(seed)
    model = sorted({(float(rng.randrange(60)), b"%d" % rng.randrange(10**9)) for _ in range(size)})
    shuffled = model[:]
    rng.shuffle(shuffled)
    order = SortedBlocks(shuffled)
    check(order, model)
    for grow in phases:
        for _ in range(300):
            step(order, model, grow, rng)
        check(order, model)
        check_ranks(order, model, rng)


@pytest.mark.parametrize("step", [1, -1])
def test_pairs_that_arrive_in_order_fill_the_blocks(step: int) -> None:
    order = SortedBlocks()
    for number in range(0, step * SORTED_BLOCK_PAIRS * 10, step):
        order.add(float(number), b"m")
    assert len(order.block_sizes()) <= 11
    assert order.rank(0.0, b"m") == (0 if step == 1 else len(order) - 1)


def test_popping_all_from_the_front_leave_no_empty_block() -> None:
    order = SortedBlocks((float(n), b"%d" % n) for n in range(20_000))
    for number in range(20_000):
        assert order.pop_first() == (b"%d" % number, float(number))
    assert order.block_sizes() == [0]
    with pytest.raises(IndexError):
        order.pop_first()
    with pytest.raises(IndexError):
        order.pop_last()


def test_removing_what_is_not_there_raises() -> None:
    order = SortedBlocks([(1.0, b"a")])
    with pytest.raises(KeyError):
        order.remove(1.0, b"b")
    with pytest.raises(KeyError):
        order.move(2.0, 3.0, b"a")
    with pytest.raises(IndexError):
        order.at(1)
    assert list(order.items()) == [(b"a", 1.0)]


def test_infinities_are_the_ends() -> None:
    order = SortedBlocks([(float("inf"), b"z"), (float("-inf"), b"a"), (0.0, b"m")])
    assert order.rank_of_score(float("inf"), True) == 3
    assert order.rank_of_score(float("inf"), False) == 2
    assert order.rank_of_score(float("-inf"), False) == 0
    assert order.rank_of_score(float("-inf"), True) == 1


def test_names_are_ranked_within_equal_scores() -> None:
    order = SortedBlocks((0.0, b"%05d" % n) for n in range(5000))
    assert order.rank_of_name(b"02500", False) == 2500
    assert order.rank_of_name(b"02500", True) == 2501
    assert SortedBlocks().rank_of_name(b"x", True) == 0


def test_a_copy_is_independent() -> None:
    order = SortedBlocks([(1.0, b"a"), (2.0, b"b")])
    twin = order.copy()
    order.pop_first()
    assert list(twin.items()) == [(b"a", 1.0), (b"b", 2.0)]


def test_ranks_are_found_in_any_number_of_blocks() -> None:
    """The tree of lengths has no special sizes: powers of two, one more, one less."""
    for blocks in (2, 3, 4, 5, 7, 8, 9, 16, 17):
        size = blocks * SORTED_BLOCK_PAIRS - 3
        order = SortedBlocks((float(n), b"m") for n in range(0, 2 * size, 2))
        for rank in range(0, size, 97):
            assert order.at(rank) == (b"m", 2.0 * rank)
            assert order.rank(2.0 * rank, b"m") == order.rank(2.0 * rank - 1, b"m") == rank
        order.add(1.0, b"m")
        assert order.at(size // 2) == (b"m", 2.0 * (size // 2 - 1))


def test_members_are_given_back() -> None:
    member = b"a member that nobody else holds"
    held = getrefcount(member)
    order = SortedBlocks((float(n), member) for n in range(2000))
    for score in range(100):
        order.remove(float(score), member)
    order.remove_slice(500, 1500)
    twin = order.copy()
    order.move(150.0, 5000.0, member)
    order.pop_last()
    twin.add(9999.0, member)
    assert order.memory_bytes > 900 * 16
    del order, twin
    assert getrefcount(member) == held


@pytest.mark.parametrize("arrangement", ["ascending", "descending", "any"])
@pytest.mark.parametrize("size", [0, 1, 10, SORTED_BLOCK_PAIRS, SORTED_BLOCK_PAIRS + 1, 2000])
def test_blocks_of_pairs_hold_them_however_they_come(size: int, arrangement: str) -> None:
    rng = Random(size)
    pairs = sorted((float(rng.randrange(9)), b"%06d" % at) for at in range(size))
    model = list(pairs)
    if arrangement == "descending":
        pairs.reverse()
    elif arrangement == "any":
        rng.shuffle(pairs)
    order = blocks_of([member for _, member in pairs], [score for score, _ in pairs])
    check(order, model)
    check_ranks(order, model, rng)
    for _ in range(50):
        order.add(3.5, b"%06d" % len(model))
        insort(model, (3.5, b"%06d" % len(model)))
    check(order, model)
