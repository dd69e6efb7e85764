"""History: when a peer may continue, by Redis's rules."""

import pytest

from replication.constants import NO_REPLID
from replication.history import OLDER_IDS_MAX, History, is_replid

A, B, C = "a" * 40, "b" * 40, "c" * 40


def test_the_same_id_may_continue_anywhere() -> None:
    assert History(A).refusal_of_id(A, 10**12) is None


def test_another_id_may_not() -> None:
    refusal = History(A).refusal_of_id(B, 0)
    assert refusal is not None
    assert "Replication ID mismatch" in refusal


def test_after_a_promotion_the_old_id_is_good_up_to_it() -> None:
    history = History(A)
    history.shift(B, 100)
    assert history.refusal_of_id(A, 100) is None
    refusal = history.refusal_of_id(A, 101)
    assert refusal is not None
    assert "I can reply up to 101" in refusal
    assert history.second_repl_offset == 101
    history.invariants()


def test_older_ids_are_remembered_each_up_to_its_end() -> None:
    history = History(A)
    history.shift(B, 100)
    history.shift(C, 200)
    assert history.refusal_of_id(A, 100) is None
    assert history.refusal_of_id(A, 101) is not None
    assert history.refusal_of_id(B, 200) is None
    history.invariants()


def test_the_oldest_ids_are_forgotten() -> None:
    history = History(A)
    for number in range(OLDER_IDS_MAX + 3):
        history.shift(f"{number:040x}", number)
    assert history.refusal_of_id(A, 0) is not None
    assert len(history.older) == OLDER_IDS_MAX


def test_a_restart_forgets_the_old_id_and_zeros_match_nothing() -> None:
    history = History(A)
    history.shift(B, 100)
    history.restart(C)
    assert history.refusal_of_id(A, 1) is not None
    assert history.refusal_of_id(NO_REPLID, 0) is not None
    assert history.second_repl_offset == -1
    history.invariants()


@pytest.mark.parametrize("text", ["", "?", "A" * 40, "g" * 40, "a" * 39, "a" * 41])
def test_what_is_no_id(text: str) -> None:
    assert not is_replid(text)


def test_epochs_never_fall() -> None:
    history = History(A, epoch=3)
    with pytest.raises(AssertionError):
        history.raise_epoch(2)


def test_a_promotion_taken_back_leaves_the_history_as_it_was_and_the_new_id_known() -> None:
    history = History(A)
    history.shift(B, 100)
    history.shift(C, 100)
    history.unshift()
    assert (history.replid, history.replid2, history.replid2_position) == (B, A, 100)
    assert history.refusal_of_id(C, 100) is None
    assert history.refusal_of_id(C, 101) is not None
    history.unshift()
    assert (history.replid, history.replid2) == (A, C)
    history.invariants()
