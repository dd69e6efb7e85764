"""Frames: what is sealed comes out again, and what was changed does not."""

import struct

import pytest

from replication.checksum import crc32c, history_checksum
from replication.constants import FRAME_BODY_BYTES_MAX
from replication.frames import (
    HEADER_BYTES,
    FrameError,
    FrameKind,
    FrameReader,
    parse,
    reseal_head,
    reseal_tail,
    seal,
)

BODY = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
SEALED = seal(FrameKind.STREAM, 7, 1000, 1_700_000_000_000, 0xABCDEF, BODY)


def test_layout_is_frozen() -> None:
    """These bytes are what version 1 of the layout is; they may never change."""
    sealed = seal(FrameKind.STREAM, 7, 1000, 1_700_000_000_000, 0xABCDEF, b"PING")
    assert sealed.hex(" ", -8) == (
        "4346010104000000 0700000000000000 e803000000000000"
        " 0068e5cf8b010000 efcdab0000000000 a6a4adce8903d72e 50494e47"
    )
    assert HEADER_BYTES == 48


def test_fields_come_back() -> None:
    frame = parse(SEALED)
    assert frame.kind is FrameKind.STREAM
    assert (frame.epoch, frame.start, frame.end) == (7, 1000, 1000 + len(BODY))
    assert (frame.timestamp_ms, frame.history) == (1_700_000_000_000, 0xABCDEF)
    assert frame.body == BODY
    assert frame.sealed == SEALED


@pytest.mark.parametrize("size", [1, 2, 3, 47, 48, 49, 75, 1000])
def test_reader_gives_the_same_frames_however_bytes_arrive(size: int) -> None:
    stream = SEALED * 3
    reader = FrameReader()
    frames = []
    for at in range(0, len(stream), size):
        reader.feed(stream[at : at + size])
        while (frame := reader.next_frame()) is not None:
            frames.append(frame)
    assert frames == [parse(SEALED)] * 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (0, "not a frame of version 1"),
        (2, "not a frame of version 1"),
        (3, "the header's checksum"),
        (5, "the header's checksum"),
        (16, "the header's checksum"),
        (45, "the header's checksum"),
        (48, "the body's checksum at position 1000"),
    ],
)
def test_damage_is_named(damage: int, reason: str) -> None:
    damaged = bytearray(SEALED)
    damaged[damage] ^= 4
    with pytest.raises(FrameError, match=reason):
        parse(bytes(damaged))


def _with_header(kind: int, body_bytes: int) -> bytes:
    fields = struct.pack("<3sBIQQQQI", b"CF\x01", kind, body_bytes, 0, 0, 0, 0, 0)
    return fields + struct.pack("<I", crc32c(fields))


def test_sound_headers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(FrameError, match="over"):
        first_frame(_with_header(1, FRAME_BODY_BYTES_MAX + 1))
    with pytest.raises(FrameError, match="unknown kind of frame 9"):
        first_frame(_with_header(9, 0))


def first_frame(data: bytes) -> object:
    reader = FrameReader()
    reader.feed(data)
    return reader.next_frame()


@pytest.mark.parametrize("length", [0, 1, 47, 48, len(SEALED) - 1])
def test_a_cut_frame_is_refused_whole_and_waited_for_in_a_stream(length: int) -> None:
    with pytest.raises(FrameError):
        parse(SEALED[:length])
    assert first_frame(SEALED[:length]) is None


def test_the_rest_of_a_frame_keeps_the_leaders_history() -> None:
    rest = parse(reseal_tail(SEALED, 10))
    assert rest.start == 1010
    assert rest.body == BODY[10:]
    assert (rest.history, rest.epoch, rest.timestamp_ms) == (0xABCDEF, 7, 1_700_000_000_000)


def test_the_head_of_a_frame_has_its_own_history() -> None:
    head = parse(reseal_head(parse(SEALED), 10, 5))
    assert (head.start, head.body) == (1000, BODY[:10])
    assert head.history == history_checksum(BODY[:10], 5)


def test_a_damaged_frame_is_not_sealed_anew() -> None:
    with pytest.raises(FrameError):
        reseal_tail(SEALED[:-1] + b"x", 10)
