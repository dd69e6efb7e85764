"""Forks: where two histories part, and how one of them goes back there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replication.actions import Fork
from replication.backlog import Backlog
from replication.constants import LINEAGE_IDS_MAX
from replication.forks import common_point, decode_lineage, encode_lineage, read_fork
from replication.history import History, HistoryMark

A, B, C = "a" * 40, "b" * 40, "c" * 40


def test_the_fork_is_the_latest_position_under_a_common_id() -> None:
    assert common_point(((A, 500),), ((B, 900), (A, 420))) == (A, 420)
    assert common_point(((C, 700), (A, 400)), ((B, 900), (A, 420))) == (A, 400)
    assert common_point(((C, 700), (B, 600), (A, 400)), ((B, 900), (A, 420))) == (B, 600)
    assert common_point(((A, 500),), ((B, 900),)) is None


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(0, (1 << 63) - 1)), min_size=1))
def test_a_lineage_is_read_as_it_was_written(named: list[tuple[str, int]]) -> None:
    lineage = tuple(named)
    assert decode_lineage(encode_lineage(lineage)) == lineage[:LINEAGE_IDS_MAX]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_lineage_or_nothing(data: bytes) -> None:
    found = decode_lineage(data)
    assert found is None or encode_lineage(found) == data or b":0" in data


def test_a_malformed_fork_is_nothing() -> None:
    assert read_fork(["+FORK", A, "12", "resume"]) == Fork(A, 12, "resume")
    for words in (
        ["+FORK", A, "12"],
        ["+FORK", A, "-1", "resume"],
        ["+FORK", A, "9" * 30, "resume"],
        ["+FORK", "x", "1", "resume"],
        ["+FORK", A, "1", "other"],
    ):
        assert read_fork(words) is None


def test_a_history_forgets_what_came_after_the_fork() -> None:
    history = History(A)
    history.shift(B, 100)
    history.shift(C, 200)
    assert history.lineage(300) == ((C, 300), (B, 200), (A, 100))
    history.go_back(B, 150)
    assert history.lineage(150) == ((B, 150), (A, 100))
    history.go_back(A, 60)
    assert history.lineage(60) == ((A, 60),)
    history.invariants()


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.data(),
)
def test_a_backlog_rewound_is_the_one_that_never_went_on(
    sizes: list[int], data: st.DataObject
) -> None:
    backlog, other = Backlog(1 << 16), Backlog(1 << 16)
    backlog.active = other.active = True
    for number, size in enumerate(sizes):
        backlog.append(b"%c" % (65 + number) * size, 7, 1)
    position = data.draw(st.integers(0, backlog.end))
    whole, _ = backlog.read(0, 1 << 20)
    mark = backlog.mark_at(position)
    tail = b"".join(sealed[48:] for sealed in backlog.sealed_from(position))
    assert tail == whole[position:]
    backlog.rewind(position, mark)
    backlog.invariants()
    assert (backlog.end, backlog.mark) == (position, mark)
    if position:
        assert backlog.read(0, 1 << 20)[0] == whole[:position]
    backlog.append(b"goes on", 8, 2)
    backlog.invariants()


def test_a_backlog_that_does_not_go_back_so_far_begins_anew() -> None:
    backlog = Backlog(1 << 14)
    backlog.active = True
    for _ in range(40):
        backlog.append(b"x" * 1000, 1, 1)
    assert backlog.start > 0
    backlog.rewind(10, HistoryMark(5, 0))
    backlog.invariants()
    assert (backlog.start, backlog.end, backlog.mark) == (10, 10, HistoryMark(5, 0))
