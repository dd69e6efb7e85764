"""What is fuzzed: for each parser samples of what it reads, and what must hold for any bytes.

Two promises are checked. *Damage is found*: of bytes that carry checksums, nothing but a beginning
of what was written is handed out. *Nonsense is harmless*: where the checksum is put right after the
damage, as only malice or a bug would, the result is a sound value or the typed error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.persistence.log_chain import Chain
from cache_server.persistence.log_codec import (
    DamageError,
    Group,
    LogParser,
    Place,
    Placed,
    Plain,
    encode_command,
    encode_group,
    encode_place,
)
from cache_server.persistence.manifest import parse_manifest
from cache_server.persistence.rollback import (
    Discarded,
    RollbackHeader,
    RollbackReader,
    encode_header,
)
from cache_server.persistence.snapshot_codec import dump_value, restore_value
from replication.checksum import crc32c, crc64_redis
from replication.constants import NO_REPLID
from replication.frames import HEADER_BYTES, FrameError, FrameKind, FrameReader, seal
from replication.full_sync import SnapshotError
from replication.held_log import HeldLog
from replication.intake import StreamIntake
from replication.sync_intake import SyncIntake, held_frames
from tests.fuzz import clients
from tests.fuzz.mutations import mutated
from tests.fuzz.test_snapshot import keyspace_of, load, plain, resealed, snapshot_bytes

BODIES = [b"*1\r\n$4\r\nPING\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n", b"x", b"yz" * 20]
#: Values in every form in which a stock server ever dumped one.
DUMPED = [
    bytes.fromhex(line.split()[0])
    for line in (Path(__file__).parent.parent / "data/dumped_values.txt").read_text().splitlines()
    if not line.startswith("#")
]


@dataclass(frozen=True)
class Target:
    """`check(data, sample)` raises for a promise broken; returns whether anything was taken."""

    samples: list[bytes]
    check: Callable[[bytes, bytes], bool]
    #: Makes bytes out of a sample; `mutated` where nothing better is known.
    change: Callable[[Random, bytes, list[bytes]], bytes] = mutated


# -- frames --------------------------------------------------------------------------------------


def _stream(bodies: list[bytes], kind: FrameKind = FrameKind.STREAM) -> bytes:
    position = digest = 0
    data = b""
    for body in bodies:
        digest = crc64_redis(body, digest)
        data += seal(kind, 1, position, 2, digest, body)
        position += len(body)
    if kind is FrameKind.SNAPSHOT:
        data += seal(FrameKind.SNAPSHOT_END, 1, position, 2, digest, b"")
    return data


_ALL_BODIES = b"".join(BODIES)
_STREAM = _stream(BODIES)


def _check_frames(data: bytes, sample: bytes) -> bool:
    """Whatever is handed out was sealed: the reader goes on behind damage."""
    reader, found = FrameReader(), 0
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        reader.feed(part)
        while True:
            try:
                frame = reader.next_frame()
            except FrameError:
                continue
            if frame is None:
                break
            assert frame.body in BODIES or not frame.body, frame
            found += 1
    return found > 0


def _check_intake(data: bytes, sample: bytes) -> bool:
    """What is given out is the stream, in sequence, from its beginning."""
    intake, given = StreamIntake(FrameReader(), 0, 0), b""
    third = len(data) // 3
    for part in (data[:third], data[third:]):
        given += b"".join(frame.body for frame in intake.feed(part))
        intake.ranges_due(0)
    assert _ALL_BODIES.startswith(given), given
    assert intake.received == len(given)
    return bool(given)


def _forged(rng: Random, sample: bytes, others: list[bytes]) -> bytes:
    """A frame whose header is nonsense under right checksums, between sound ones."""
    first, junk = _STREAM[: HEADER_BYTES + len(BODIES[0])], mutated(rng, _STREAM, others)
    kind, size = rng.getrandbits(8) % 7, rng.choice([0, 1, 14, 1 << 20, (1 << 20) + 1, 2**32 - 1])
    position, history = rng.choice([0, 14, 2**63, 2**64 - 1]), rng.getrandbits(64)
    body = junk[: rng.getrandbits(6)]
    fields = struct.pack(
        "<3sBIQQQQI", b"CF\x01", kind, size, rng.getrandbits(3), position, 2, history, crc32c(body)
    )
    return first + fields + struct.pack("<I", crc32c(fields)) + body + _STREAM


def _check_forged(data: bytes, sample: bytes) -> bool:
    """Sound checksums around nonsense: a beginning of the stream, and no more is kept than came."""
    intake, given = StreamIntake(FrameReader(), 0, 0), b""
    given = b"".join(f.body for f in intake.feed(data) if f.kind is FrameKind.STREAM)
    intake.ranges_due(0)
    intake.ranges_due(10_000, by_clock=True)
    assert intake.received == len(given)
    return bool(given)


def _interleaved() -> bytes:
    """A snapshot with the stream between its chunks."""
    chunks, stream = _stream(BODIES, FrameKind.SNAPSHOT), _STREAM
    data, at, stream_at = b"", 0, 0
    for body in [*BODIES, b""]:
        size = HEADER_BYTES + len(body)
        data += chunks[at : at + size]
        at += size
        if body:
            data += stream[stream_at : stream_at + size]
            stream_at += size
    return data


_SNAPSHOT_STREAM = _interleaved()


def _check_full_sync(data: bytes, sample: bytes) -> bool:
    """What is given is a beginning of the snapshot, all of it at the end, and what is held is one
    of the stream."""
    held = HeldLog(1 << 20)
    receiver, given = SyncIntake(FrameReader(), 0, 0, held), b""
    try:
        given = b"".join(receiver.feed(data))
        receiver.ranges_due(0)
        receiver.ranges_due(10_000, by_clock=True)
    except (FrameError, SnapshotError):
        return False
    assert _ALL_BODIES.startswith(given), given
    assert not receiver.finished or given == _ALL_BODIES
    stream = b""
    while held:
        stream += b"".join(f.body for f in held_frames(held) if f.kind is FrameKind.STREAM)
    assert _ALL_BODIES.startswith(stream), stream
    return bool(given)


# -- log and manifest ----------------------------------------------------------------------------


def _log(frame_bytes: int, groups: int) -> bytes:
    data = encode_place(Place("a" * 40, "0" * 40, -1, 0, 0, 0, 0, 0, "boot"))
    position = checksum = 0
    for number in range(groups):
        body = encode_command([b"SET", b"k%d" % number, b"v" * 9])
        frames = []
        for at in range(0, len(body), frame_bytes):
            part = body[at : at + frame_bytes]
            checksum = crc64_redis(part, checksum)
            frames.append(seal(1, 0, position, 5, checksum, part))
            position += len(part)
        data += encode_group(frames)
    return data


_LOGS = [_log(400, 3), _log(20, 2)]
_LOG_BODIES = b"".join(encode_command([b"SET", b"k%d" % n, b"v" * 9]) for n in range(3))


def _check_log(data: bytes, sample: bytes) -> bool:
    """Groups are a beginning of what was logged. Commands without a seal may stand before the first
    place only, or begin with SELECT: a stock server's."""
    parser, chain, found, plain_seen = LogParser(), Chain(), b"", False
    half = len(data) // 2
    try:
        for part in (data[:half], data[half:]):
            parser.feed(part)
            while (item := parser.next_item()) is not None:
                if type(item) is Group:
                    chain.group(item)
                    found += b"".join(frame.body for frame in item.frames)
                elif type(item) is Placed:
                    chain.placed(item)
                else:
                    assert type(item) is Plain
                    plain_seen = True
                    chain.end()
        parser.finish()
    except DamageError:
        pass
    assert plain_seen or _LOG_BODIES.startswith(found), found
    assert parser.buffered_bytes <= len(data)
    return bool(found)


_MANIFESTS = [
    b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
    b'# note\nfile "a b\\x01.aof" seq 7 type h\nfile appendonly.9.incr.aof seq 9 type i extra x\n',
]


def _check_manifest(data: bytes, sample: bytes) -> bool:
    """What is accepted keeps the invariants and is read again as it was understood."""
    try:
        manifest = parse_manifest(data)
    except InputError:
        return False
    numbers = [one.seq for one in manifest.increments]
    assert numbers == sorted(set(numbers))
    for one in [*manifest.loaded_files, *manifest.history]:
        assert one.name
        assert "/" not in one.name
        assert one.name not in (".", "..")
    if not manifest.empty:
        again = parse_manifest(manifest.text())
        assert again.loaded_files == manifest.loaded_files
    return True


# -- snapshots -----------------------------------------------------------------------------------

_FIELDS_EXPIRE = 25  # such a hash is refused
_VALUES = [restore_value(dump + bytes(8)) for dump in DUMPED if dump[0] != _FIELDS_EXPIRE]
_SNAPSHOTS = [
    snapshot_bytes(keyspace_of([(0, b"key", value, 0), (1, b"other", b"text", 2**45)]))
    for value in [*_VALUES[:12], 7]
]


def _check_snapshot(data: bytes, sample: bytes) -> bool:
    """Damage is found by the checksum, where there is one: zeros say that there is none, and so do
    versions below 5."""
    try:
        loaded = load(data)
    except InputError:
        return False
    assert data == sample or data[-8:] == bytes(8) or data[5:9] < b"0005", data
    _walk(loaded)
    return True


def _check_nonsense_snapshot(data: bytes, sample: bytes) -> bool:
    """Under a right checksum, what is nonsense is refused or read as something."""
    try:
        loaded = load(resealed(data))
    except InputError:
        return False
    _walk(loaded)
    return True


def _walk(loaded: Any) -> None:
    for table in loaded.tables:
        for entry in table.values():
            _sound(entry.value)


def _sound(value: Any) -> None:
    """A value that can be used: not empty, and written and read again it is the same."""
    before = plain(value)
    assert isinstance(before, bytes) or len(before) > 0, value
    assert repr(plain(restore_value(dump_value(value)))) == repr(before)


def _check_value(data: bytes, sample: bytes) -> bool:
    """RESTORE's payload, likewise."""
    try:
        value = restore_value(data + bytes(8))
    except InputError:
        return False
    _sound(value)
    return True


# -- rollback files ------------------------------------------------------------------------------


class _OneFile(Disk):
    """A disk with one file, in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, path: str) -> Any:
        return BytesIO(self._data)


def _rollback() -> bytes:
    bodies = [encode_command([b"SELECT", b"1"]), BODIES[1], BODIES[1]]
    end = sum(map(len, bodies))
    header = RollbackHeader("c" * 40, 0, 0, end, 0, 2, 1000, "leader:6379")
    place = Place("c" * 40, NO_REPLID, -1, 1, 0, 0, 0, 0, "")
    data, digest, position = encode_header(header) + encode_place(place), 0, 0
    for body in bodies:
        digest = crc64_redis(body, digest)
        data += encode_group([seal(FrameKind.STREAM, 1, position, 2, digest, body)])
        position += len(body)
    return data


def _check_rollback(data: bytes, sample: bytes) -> bool:
    """What is read is a beginning of what was discarded, and all of it where no error is told."""
    whole = list(RollbackReader(_OneFile(sample), "sample").commands())
    found: list[Discarded] = []
    try:
        found.extend(RollbackReader(_OneFile(data), "data").commands())
    except InputError:
        assert found == whole[: len(found)]
        return False
    assert found == whole
    return True


TARGETS = {
    "rollback": Target([_rollback()], _check_rollback),
    "frames": Target([_STREAM], _check_frames),
    "intake": Target([_STREAM], _check_intake),
    "forged": Target([_STREAM], _check_forged, _forged),
    "full_sync": Target([_SNAPSHOT_STREAM], _check_full_sync),
    "log": Target(_LOGS, _check_log),
    "manifest": Target(_MANIFESTS, _check_manifest),
    "snapshot": Target(_SNAPSHOTS, _check_snapshot),
    "nonsense": Target(_SNAPSHOTS, _check_nonsense_snapshot),
    "values": Target(DUMPED, _check_value),
    "requests": Target(clients.PIPELINES, clients.check_requests),
    "commands": Target(clients.PIPELINES, clients.check_commands),
    "scripts": Target(clients.SCRIPTS, clients.check_script, clients.changed_script),
    "arguments": Target(clients.ARGUMENTS, clients.check_argument),
    "restore": Target(DUMPED, clients.check_restore),
    "rules": Target(clients.RULES, clients.check_rules),
    "globs": Target(clients.GLOBS, clients.check_glob),
}
