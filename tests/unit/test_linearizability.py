"""The checker of histories: right ones pass, wrong ones are named, and a dumb search agrees."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.linearizability import Operation, violations


def write(value, start, end, key="k"):
    return Operation("write", key, value, start, end)


def read(value, start, end, key="k"):
    return Operation("read", key, value, start, end)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [read(None, 0, 1)],
        [write(1, 0, 1), read(1, 2, 3)],
        # Concurrent with the write, a read may give either value.
        [write(1, 0, 10), read(None, 1, 2), read(1, 3, 4)],
        [write(1, 0, 10), write(2, 0, 10), read(2, 11, 12), read(2, 13, 14)],
        # A write without an answer may come true late, or never.
        [write(1, 0, 1), write(2, 2, None), read(1, 3, 4), read(2, 90, 91)],
        [write(1, 0, 1), write(2, 2, None), read(1, 90, 91)],
        # Where one ends and the other begins at one instant they are concurrent.
        [write(1, 0, 5), read(None, 5, 6)],
        # Keys are registers of their own.
        [write(1, 0, 1, "a"), read(None, 2, 3, "b")],
        # A read that was never answered says nothing.
        [write(1, 0, 1), read(None, 2, None)],
    ],
)
def test_a_right_history_passes(history):
    assert violations(history) == []


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([read(9, 0, 1)], "nobody wrote"),
        ([read(1, 0, 1), write(1, 2, 3)], "before it was written"),
        ([write(1, 0, 1), read(None, 2, 3)], "before"),
        ([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)], "before"),
        # Seen, and then not seen any more.
        ([write(1, 0, 1), write(2, 2, None), read(2, 3, 4), read(1, 5, 6)], "before"),
        # Two readers see two concurrent writes in different orders.
        (
            [
                write(1, 0, 9),
                write(2, 0, 9),
                read(1, 10, 11),
                read(2, 12, 13),
                read(1, 14, 15),
            ],
            "before",
        ),
    ],
)
def test_a_wrong_history_is_told(history, said):
    (sentence,) = violations(history)
    assert said in sentence


def test_each_key_without_an_order_is_told():
    wrong = [write(1, 0, 1, "a"), read(None, 2, 3, "a"), read(7, 0, 1, "b"), write(1, 0, 1, "c")]
    assert len(violations(wrong)) == 2


@pytest.mark.parametrize(
    "nonsense",
    [
        [write(1, 0, 1), write(1, 2, 3)],
        [write(1, 5, 4)],
        [Operation("append", "k", 1, 0, 1)],
    ],
)
def test_what_is_no_history_is_refused(nonsense):
    with pytest.raises(ValueError, match=r"operation|two writes"):
        violations(nonsense)


def by_search(history):
    """The definition: some order of the operations, unknown writes left out or not, fits."""
    known = [one for one in history if one.end is not None]
    unsure = [one for one in history if one.op == "write" and one.end is None]
    for mask in range(1 << len(unsure)):
        chosen = known + [one for at, one in enumerate(unsure) if mask >> at & 1]
        if any(_fits(order) for order in permutations(chosen)):
            return True
    return False


def _fits(order):
    value, latest_start = None, float("-inf")
    for one in order:
        latest_start = max(latest_start, one.start)
        if one.end is not None and one.end < latest_start:
            return False
        if one.op == "write":
            value = one.value
        elif one.value != value:
            return False
    return True


TIMES = st.integers(0, 12)


@st.composite
def histories(draw):
    history = []
    for value in range(1, draw(st.integers(1, 3)) + 1):
        start = draw(TIMES)
        end = draw(st.one_of(st.none(), st.integers(start, 12)))
        history.append(write(value, start, end))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(TIMES)
        value = draw(st.sampled_from([None, 1, 2, 3]))
        history.append(read(value, start, draw(st.integers(start, 12))))
    return history


@given(histories())
def test_it_agrees_with_a_search_through_all_orders(history):
    assert (not violations(history)) == by_search(history)
