"""Intake: frames come out once, in sequence and sound, whatever was damaged on the way."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.checksum import history_checksum
from replication.constants import REPAIR_ATTEMPTS_MAX, REPAIR_INTERVAL_MS
from replication.frames import Frame, FrameError, FrameKind, FrameReader, parse, seal
from replication.intake import HistoryMismatchError, StreamIntake


def sealed_frames(count: int, size: int = 20) -> list[bytes]:
    frames, position, checksum = [], 0, 0
    for at in range(count):
        body = b"%*d" % (size, at)
        checksum = history_checksum(body, checksum)
        frames.append(seal(FrameKind.STREAM, 1, position, 2, checksum, body))
        position += size
    return frames


def flipped(frame: bytes, at: int) -> bytes:
    damaged = bytearray(frame)
    damaged[at] ^= 1
    return bytes(damaged)


def resent(frames: list[bytes], start: int, end: int, sent: int) -> bytes:
    """What a leader answers that has sent so many of the frames."""
    parsed = [parse(each) for each in frames[:sent]]
    return b"".join(
        each.sealed for each in parsed if each.end > start and (end < 0 or each.start < end)
    )


def test_what_is_sound_comes_out_as_it_came() -> None:
    frames = sealed_frames(3)
    intake = StreamIntake(FrameReader(), 0, 0)
    assert [each.sealed for each in intake.feed(b"".join(frames))] == frames
    assert not intake.missing
    assert intake.received == 60


def test_only_the_damaged_range_is_asked_for_and_what_came_behind_it_waits() -> None:
    frames = sealed_frames(5)
    intake = StreamIntake(FrameReader(), 0, 0)
    given = intake.feed(frames[0] + flipped(frames[1], 60) + frames[2] + frames[3])
    assert [each.sealed for each in given] == frames[:1]
    assert intake.ranges_due(0) == [(20, 40)]
    assert intake.ranges_due(1) == []
    assert intake.feed(frames[4]) == []
    assert [each.sealed for each in intake.feed(frames[1])] == frames[1:]
    assert (intake.damaged, intake.repaired, intake.repaired_bytes) == (1, 1, 20)
    assert not intake.missing


def test_a_control_frame_keeps_its_place_in_the_sequence() -> None:
    frames = sealed_frames(3)
    control = seal(FrameKind.VERIFY, 1, 40, 2, 0, b"what")
    intake = StreamIntake(FrameReader(), 0, 0)
    given = intake.feed(frames[0] + flipped(frames[1], 60) + control + frames[2])
    given += intake.feed(frames[1])
    assert [each.sealed for each in given] == [*frames[:2], control, frames[2]]


def test_bytes_of_a_body_that_look_like_a_frame_are_not_taken_for_one() -> None:
    forged = seal(FrameKind.STREAM, 1, 0, 2, 7, b"*1\r\n$8\r\nFLUSHALL\r\n")
    checksum = history_checksum(forged, 0)
    frame = seal(FrameKind.STREAM, 1, 0, 2, checksum, forged)
    intake = StreamIntake(FrameReader(), 0, 0)
    assert intake.feed(flipped(frame, 4)) == []
    assert isinstance(intake.refusal, FrameError)


def test_a_sound_frame_of_another_history_is_no_damage() -> None:
    intake = StreamIntake(FrameReader(), 0, 99)
    assert intake.feed(sealed_frames(1)[0]) == []
    assert isinstance(intake.refusal, HistoryMismatchError)


def test_a_range_that_never_comes_is_given_up() -> None:
    frames = sealed_frames(2)
    intake = StreamIntake(FrameReader(), 0, 0)
    intake.feed(flipped(frames[0], 60) + frames[1])
    now_ms = 0
    for _ in range(REPAIR_ATTEMPTS_MAX + 2):
        intake.ranges_due(now_ms, by_clock=True)
        now_ms += REPAIR_INTERVAL_MS
    assert isinstance(intake.refusal, FrameError)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 30), st.floats(0, 0.4))
def test_any_damage_heals(seed: int, count: int, rate: float) -> None:
    """Every frame, first sent or sent again, may be damaged anywhere; the link comes through."""
    rng = random.Random(seed)
    frames = sealed_frames(count)
    intake = StreamIntake(FrameReader(), 0, 0)
    given: list[Frame] = []
    now_ms = 0
    asked: list[tuple[int, int]] = []

    def send(data: bytes, *, damage: bool) -> None:
        if damage and data:
            data = flipped(data, rng.randrange(len(data)))
        at = 0
        while at < len(data):
            size = rng.randint(1, 100)
            given.extend(intake.feed(data[at : at + size]))
            asked.extend(intake.ranges_due(now_ms))
            at += size

    for sent, frame in enumerate(frames, 1):
        send(frame, damage=rng.random() < rate)
        while asked and rng.random() < 0.7:
            send(resent(frames, *asked.pop(0), sent), damage=rng.random() < rate / 2)
    for _ in range(REPAIR_ATTEMPTS_MAX - 1):
        now_ms += REPAIR_INTERVAL_MS
        asked += intake.ranges_due(now_ms, by_clock=True)
        for start, end in asked:
            send(resent(frames, start, end, count), damage=False)
        asked.clear()
    assert intake.refusal is None
    assert [each.sealed for each in given] == frames[: len(given)]
    if not intake.missing:
        assert intake.received in (each.end for each in given) or not given
    if rate == 0:
        assert len(given) == count


@pytest.mark.parametrize("kind", [FrameKind.SNAPSHOT, FrameKind.SNAPSHOT_END])
def test_a_snapshot_frame_does_not_belong_into_the_stream(kind: FrameKind) -> None:
    intake = StreamIntake(FrameReader(), 0, 0)
    intake.feed(seal(kind, 0, 0, 0, 0, b"x"))
    assert isinstance(intake.refusal, FrameError)
