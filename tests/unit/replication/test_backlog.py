"""Backlog: bytes by position, shared, bounded, and checked against a plain byte string."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.backlog import Backlog
from replication.checksum import history_checksum
from replication.constants import BACKLOG_BYTES_MIN, STREAM_FRAME_BYTES
from replication.frames import FrameReader, parse
from replication.history import HistoryMark


def backlog_of(*parts: bytes, position: int = 100) -> Backlog:
    backlog = Backlog(BACKLOG_BYTES_MIN, position)
    backlog.active = True
    for at, part in enumerate(parts):
        backlog.append(part, 1000 + at, epoch=3)
    return backlog


def bodies(data: bytes) -> list[bytes]:
    reader = FrameReader()
    reader.feed(data)
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame.body)
    return found


def test_reads_from_any_position_framed_and_raw() -> None:
    backlog = backlog_of(b"hello", b"wide", b"world")
    whole = b"hellowideworld"
    for skip in range(len(whole) + 1):
        raw, position = backlog.read(100 + skip, 1000)
        assert (raw, position) == (whole[skip:], 114)
        framed, position = backlog.read_frames(100 + skip, 1000)
        assert (b"".join(bodies(framed)), position) == (whole[skip:], 114)


def test_a_read_takes_one_frame_at_least_and_no_more_than_it_may() -> None:
    backlog = backlog_of(b"hello", b"wide", b"world")
    assert backlog.read(100, 1) == (b"hello", 105)
    assert backlog.read(100, 9) == (b"hellowide", 109)
    assert backlog.read(100, 13) == (b"hellowide", 109)
    assert bodies(backlog.read_frames(103, 6)[0]) == [b"lo", b"wide"]


def test_history_checksum_does_not_depend_on_the_cut() -> None:
    backlog = backlog_of(b"hello", b"wide", b"world")
    whole = b"hellowideworld"
    for skip in range(len(whole) + 1):
        assert backlog.checksum_at(100 + skip) == history_checksum(whole[:skip])
    assert backlog_of(whole).checksum == backlog.checksum
    assert parse(backlog.read_frames(109, 100)[0]).history == backlog.checksum


def test_keeps_its_size_and_what_is_pinned() -> None:
    backlog = backlog_of()
    for _ in range(100):
        backlog.append(b"x" * 1000, 0, 0)
    assert BACKLOG_BYTES_MIN <= len(backlog) < BACKLOG_BYTES_MIN + 1000
    backlog.pinned_position = backlog.start
    pinned = backlog.start
    for _ in range(50):
        backlog.append(b"x" * 1000, 0, 0)
    assert backlog.start == pinned
    backlog.pinned_position = backlog.end
    backlog.append(b"x", 0, 0)
    assert len(backlog) < BACKLOG_BYTES_MIN + 1001
    backlog.invariants()


def test_a_long_append_makes_several_frames() -> None:
    backlog = backlog_of(b"y" * (STREAM_FRAME_BYTES * 2 + 5))
    assert backlog.end == 100 + STREAM_FRAME_BYTES * 2 + 5
    assert backlog.frame_count <= 3
    backlog.invariants()


def test_takes_a_leaders_frames_as_they_are() -> None:
    leader = backlog_of(b"hello", b"wide")
    follower = Backlog(BACKLOG_BYTES_MIN, 100)
    follower.active = True
    for at in (100, 105):
        follower.append_sealed(parse(leader.read_frames(at, 1)[0]))
    assert follower.read_frames(100, 100) == leader.read_frames(100, 100)
    assert follower.mark == leader.mark


def test_refuses_frames_that_do_not_fit() -> None:
    leader = backlog_of(b"hello", b"wide")
    follower = Backlog(BACKLOG_BYTES_MIN, 100)
    follower.active = True
    with pytest.raises(AssertionError):
        follower.append_sealed(parse(leader.read_frames(105, 1)[0]))
    follower.reset(100, HistoryMark(1, 0))
    with pytest.raises(AssertionError):
        follower.append_sealed(parse(leader.read_frames(100, 1)[0]))


def test_covers_nothing_while_inactive() -> None:
    backlog = Backlog(BACKLOG_BYTES_MIN, 7)
    assert not backlog.covers(7)
    backlog.active = True
    assert backlog.covers(7)
    assert not backlog.covers(8)
    assert not backlog.covers(6)


def test_timestamps_tell_the_age_of_a_position() -> None:
    backlog = backlog_of(b"hello", b"wide")
    assert backlog.timestamp_ms_at(104) == 1000
    assert backlog.timestamp_ms_at(105) == 1001
    assert backlog.timestamp_ms_at(109) is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_agrees_with_a_plain_byte_string(seed: int) -> None:
    draw = random.Random(seed)
    backlog = Backlog(BACKLOG_BYTES_MIN, 0)
    backlog.active = True
    whole = b""
    for _ in range(60):
        part = draw.randbytes(draw.choice([1, 10, 500, 3000]))
        backlog.append(part, 0, 0)
        whole += part
        position = draw.randint(backlog.start, backlog.end)
        size = draw.choice([1, 1000, 100_000])
        raw, after = backlog.read(position, size)
        assert raw == whole[position:after]
        framed, after_framed = backlog.read_frames(position, size)
        assert after_framed == after
        assert b"".join(bodies(framed)) == raw
        assert backlog.checksum_at(position) == history_checksum(whole[:position])
    backlog.invariants()


def test_forgets_what_has_gone_bad_and_all_before_it() -> None:
    backlog = backlog_of(b"hello", b"wide", b"world")
    assert backlog.forget_if_damaged(106) is None
    backlog._sealed[1] = backlog._sealed[1][:-1] + b"?"
    reason = backlog.forget_if_damaged(106)
    assert reason is not None
    assert "body's checksum at position 105" in reason
    assert (backlog.start, backlog.end) == (109, 114)
    backlog.invariants()
