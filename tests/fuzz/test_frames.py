"""Damaged frames are refused with the typed error or waited for; never another body or a crash."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from replication.checksum import crc64_redis
from replication.frames import FrameError, FrameKind, FrameReader, seal
from replication.full_sync import SnapshotError, SnapshotReceiver
from replication.held_log import HeldLog
from replication.sync_intake import SyncIntake

bodies = st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=5)


def sealed_stream(parts: list[bytes], kind: FrameKind = FrameKind.STREAM) -> bytes:
    position, digest, data = 0, 0, b""
    for part in parts:
        digest = crc64_redis(part, digest)
        data += seal(kind, 1, position, 2, digest, part)
        position += len(part)
    if kind is FrameKind.SNAPSHOT:
        data += seal(FrameKind.SNAPSHOT_END, 1, position, 2, digest, b"")
    return data


def read_all(data: bytes, sizes: list[int]) -> list[bytes]:
    """Feeds `data` in pieces and returns the bodies up to the first refusal."""
    reader, found, at = FrameReader(), [], 0
    for size in [*sizes, len(data)]:
        reader.feed(data[at : at + size])
        at += size
        try:
            while (frame := reader.next_frame()) is not None:
                found.append(frame.body)
        except FrameError:
            break
    return found


@settings(max_examples=300, deadline=None)
@given(bodies, st.data())
def test_a_flipped_bit_never_changes_a_body(parts: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(sealed_stream(parts))
    bit = data.draw(st.integers(0, len(stream) * 8 - 1))
    stream[bit // 8] ^= 1 << bit % 8
    sizes = data.draw(st.lists(st.integers(1, 60), max_size=4))
    found = read_all(bytes(stream), sizes)
    assert found == parts[: len(found)]
    assert len(found) < len(parts)


@settings(max_examples=200, deadline=None)
@given(bodies, st.data())
def test_any_cut_and_any_splice_gives_a_prefix(parts: list[bytes], data: st.DataObject) -> None:
    stream = sealed_stream(parts)
    cut = data.draw(st.integers(0, len(stream)))
    junk = data.draw(st.binary(max_size=60))
    found = read_all(stream[:cut] + junk, data.draw(st.lists(st.integers(1, 60), max_size=4)))
    assert found[: len(parts)] == parts[: len(found)]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_junk_is_refused_or_waited_for(data: bytes) -> None:
    assert read_all(data, [1, 7, 100]) == []


@settings(max_examples=300, deadline=None)
@given(bodies, st.data())
def test_a_damaged_snapshot_never_finishes(parts: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(sealed_stream(parts, FrameKind.SNAPSHOT))
    bit = data.draw(st.integers(0, len(stream) * 8 - 1))
    stream[bit // 8] ^= 1 << bit % 8
    receiver = SyncIntake(FrameReader(), 0, 0, HeldLog(1 << 20))
    got: list[bytes] = []
    with contextlib.suppress(FrameError, SnapshotError):
        got += receiver.feed(bytes(stream))
    assert not receiver.finished
    assert b"".join(parts).startswith(b"".join(got))


@settings(max_examples=200, deadline=None)
@given(bodies, st.data())
def test_lost_repeated_and_swapped_chunks_come_out_in_order_or_not_at_all(
    parts: list[bytes], data: st.DataObject
) -> None:
    whole = sealed_stream(parts, FrameKind.SNAPSHOT)
    frames, at = [], 0
    for part in [*parts, b""]:
        frames.append(whole[at : at + 48 + len(part)])
        at += 48 + len(part)
    chosen = data.draw(st.lists(st.sampled_from(frames), max_size=8))
    receiver = SyncIntake(FrameReader(), 0, 0, HeldLog(1 << 20))
    try:
        got = receiver.feed(b"".join(chosen))
    except (FrameError, SnapshotError):
        return
    assert b"".join(parts).startswith(b"".join(got))
    if receiver.finished:
        assert b"".join(got) == b"".join(parts)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=30), st.integers(1, 50), st.booleans())
def test_unframed_snapshots_come_out_whole(
    data: bytes, behind: bytes, size: int, marked: bool
) -> None:
    mark = b"0123456789" * 4
    head = b"$EOF:%s\r\n" % mark if marked else b"$%d\r\n" % len(data)
    wire = b"\n" + head + data + (mark if marked else behind)
    receiver, got = SnapshotReceiver(), []
    for at in range(0, len(wire), size):
        if receiver.finished:
            break
        got += receiver.feed(wire[at : at + size])
    assert receiver.finished
    assert b"".join(got) == data


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1500))
def test_junk_in_place_of_a_snapshot_is_refused_or_waited_for(data: bytes) -> None:
    receiver = SnapshotReceiver()
    with contextlib.suppress(SnapshotError):
        receiver.feed(data)
