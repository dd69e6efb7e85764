"""Rollback files: what a node had to give up when it went back to its new leader's history.

The problem: a leader that died with writes nobody else has comes back as a follower, and these
writes are discarded. Whoever needs them has to find them, know what they are, and be able to do
them again. The idea: the discarded end of the stream lies in a file of its own, in the form of the
log: sealed frames, each verified when it is read, and plain commands to every Redis.

    rollback-<id, 12 digits>-<start>-<end>.aof

    #CR:1 ID FORK START END DB COMMANDS TIME LEADER CRC\\r\\n     what this file is
    #CH:1 ...                                                 the log's line: the history at START
    #CF:... bodies                                            frames, as in the log, up to END

START is FORK, unless what lies between could not be kept any more. DB is the database selected at
START, -1 where it is not known; LEADER the address of the node that leads instead. The file is put
under its name whole, and never changed.

Invariants: a file is read only if its first line is sound, every frame follows from the one before
it, and the last ends at END; anything else is a RollbackError which says where.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from cache_server.constants import LOG_LINE_BYTES_MAX, LOG_READ_BYTES, ROLLBACK_FILES_MAX
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
    encode_group,
    encode_place,
)
from cache_server.persistence.stream_commands import StreamCommands
from replication.checksum import crc32c
from replication.constants import POSITION_MAX
from replication.history import is_replid

MARK = b"#CR:"
PREFIX, SUFFIX = "rollback-", ".aof"
UNKNOWN_DB = -1
_VERSION = b"1"
_DATABASES_MAX = 1 << 20
_TIME_MS_MAX = 253_402_300_800_000  # the year 10000
_FRAMING = frozenset([b"multi", b"exec"])
#: Neither what gives the stream its form nor messages are writes.
_SILENT = frozenset([b"ping", b"replconf", b"select", b"publish", b"spublish", *_FRAMING])


class RollbackError(InputError):
    """A rollback file that cannot be used: which, where and why."""


@dataclass(frozen=True)
class RollbackHeader:
    """What a file says of itself. Offsets count stream bytes; `created_ms` is Unix time."""

    replid: str
    fork: int
    start: int
    end: int
    database: int
    commands: int
    created_ms: int
    leader: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{PREFIX}{self.replid[:12]}-{self.start}-{self.end}{SUFFIX}"

    @property
    def complete(self) -> bool:
        """Whether everything behind the fork is in it."""
        return self.start == self.fork


class Discarded(NamedTuple):
    """A command that was discarded: the bytes of the stream before it, its database (UNKNOWN_DB
    where that is not known), its words, and the number of the transaction it was in, 0 for none."""

    offset: int
    database: int
    words: list[bytes]
    unit: int


def is_discarded(words: list[bytes]) -> bool:
    """Whether a command of the stream is a write, and not part of the stream's form."""
    return words[0].lower() not in _SILENT


# -- writing --------------------------------------------------------------------------------------


def encode_header(header: RollbackHeader) -> bytes:
    """The first line."""
    text = (
        f"#CR:1 {header.replid} {header.fork} {header.start} {header.end} {header.database}"
        f" {header.commands} {header.created_ms} {header.leader or '-'}"
    ).encode("utf-8", "surrogateescape")
    return b"%b %08x\r\n" % (text, crc32c(text))


def write_rollback(
    disk: Disk,
    folder: str,
    header: RollbackHeader,
    place: Place,
    groups: list[list[bytes]],
    bytes_max: int = 0,
) -> str:
    """Writes a file and makes it durable; returns its path. `groups` are sealed frames, each group
    ending where a command and a transaction do. A file of this name is this file: it is left.

    Raises OSError, with nothing left behind; that of a full quota where with this file all of the
    folder together would hold more than `bytes_max` (0: no limit)."""
    path = os.path.join(folder, header.name)
    if disk.exists(path):
        return path
    if bytes_max:
        _check_room(folder, groups, bytes_max)
    replacement = disk.replace(path)
    try:
        replacement.write(encode_header(header) + encode_place(place))
        held, held_bytes = [], 0
        for group in groups:
            encoded = encode_group(group)
            held.append(encoded)
            held_bytes += len(encoded)
            if held_bytes >= LOG_READ_BYTES:
                replacement.write(b"".join(held))
                held, held_bytes = [], 0
        replacement.write(b"".join(held))
        replacement.commit()
    except OSError:
        replacement.abandon()
        raise
    return path


def _check_room(folder: str, groups: list[list[bytes]], bytes_max: int) -> None:
    count, held = rollback_usage(folder)
    wanted = sum(len(sealed) for group in groups for sealed in group)
    if held + wanted > bytes_max:
        raise OSError(
            errno.EDQUOT,
            f"they are {wanted} bytes, there are {count} rollback files of {held} bytes, and"
            f" replication-rollback-max-bytes is {bytes_max}",
        )


# -- reading --------------------------------------------------------------------------------------


def is_rollback(head: bytes) -> bool:
    """Whether a file that begins with these bytes means to be one."""
    return head.startswith(MARK)


def parse_header(line: bytes) -> RollbackHeader:
    """Reads the first line. Raises RollbackError."""
    if not line.startswith(MARK) or not line.endswith(b"\r\n"):
        raise RollbackError("at offset 0: not a rollback file")
    text, _, crc = line[:-2].rpartition(b" ")
    if crc != b"%08x" % crc32c(text):
        raise RollbackError("at offset 0: the first line has a wrong checksum")
    words = text[len(MARK) :].split(b" ")
    if len(words) != 9 or words[0] != _VERSION:
        raise RollbackError("at offset 0: the first line is of another version")
    try:
        replid, leader = words[1].decode("ascii"), words[8].decode("utf-8", "surrogateescape")
        fork, start, end, database, commands, created_ms = map(int, words[2:8])
    except ValueError:
        raise RollbackError("at offset 0: the first line is malformed") from None
    sound = (
        is_replid(replid)
        and 0 <= fork <= start < end <= POSITION_MAX
        and UNKNOWN_DB <= database < _DATABASES_MAX
        and 0 <= commands <= end - start
        and 0 <= created_ms < _TIME_MS_MAX
    )
    if not sound:
        raise RollbackError("at offset 0: the first line contradicts itself")
    leader = "" if leader == "-" else leader
    return RollbackHeader(replid, fork, start, end, database, commands, created_ms, leader)


class RollbackReader:
    """One file: `header` is there at once, `commands` reads and verifies it to its end.

    The constructor and the iteration raise RollbackError, and OSError."""

    def __init__(self, disk: Disk, path: str) -> None:
        self.path = path
        self._disk = disk
        with disk.open(path) as file:
            line = file.read(LOG_LINE_BYTES_MAX)
        self._begin = line.find(b"\n") + 1
        try:
            self.header = parse_header(line[: self._begin])
        except RollbackError as error:
            raise RollbackError(f"{path}: {error}") from None

    def commands(self) -> Iterator[Discarded]:
        """The discarded commands in their order, without what only frames them."""
        commands = _Commands(self.header)
        with self._disk.open(self.path) as file:
            try:
                for group in self._groups(file):
                    yield from commands.take(group)
                commands.finish()
            except DamageError as error:
                raise RollbackError(f"{self.path}: {error}") from None

    def _groups(self, file: BinaryIO) -> Iterator[Group]:
        parser, chain, header = LogParser(self._begin), Chain(), self.header
        file.seek(self._begin)
        while True:
            while (item := parser.next_item()) is not None:
                if isinstance(item, Group):
                    chain.group(item)
                    yield item
                elif isinstance(item, Placed) and chain.place is None:
                    self._check_place(item)
                    chain.placed(item)
                else:
                    raise DamageError(item.offset, "what stands here is no frame")
            data = file.read(max(LOG_READ_BYTES, parser.wanted - parser.buffered_bytes))
            if not data:
                break
            parser.feed(data)
        parser.finish()
        if chain.position != header.end:
            raise DamageError(
                parser.offset,
                f"the file ends at {chain.position} of the history instead of {header.end}",
            )

    def _check_place(self, item: Placed) -> None:
        place, header = item.place, self.header
        known = (place.replid, place.position) == (header.replid, header.start)
        if not known or place.database != max(0, header.database):
            raise DamageError(item.offset, "the history is not that of the first line")


class _Commands:
    """Commands out of groups: the database of each, and which transaction it is in."""

    def __init__(self, header: RollbackHeader) -> None:
        self._header = header
        self._database = header.database
        self._units = 0
        self._count = 0

    def take(self, group: Group) -> Iterator[Discarded]:
        stream = StreamCommands(group.frames[0].start)
        unit = 0
        for frame in group.frames:
            for item in self._read(stream, frame.body, group):
                name = item.words[0].lower()
                if name in _FRAMING:
                    self._units += name == b"multi"
                    unit = self._units if name == b"multi" else 0
                elif name == b"select":
                    self._database = self._number(item.words[-1], group)
                elif name not in _SILENT:
                    self._count += 1
                    yield Discarded(item.offset, self._database, item.words, unit)
        if not stream.at_boundary:
            raise DamageError(group.offset, "a group of frames ends within a command")

    def finish(self) -> None:
        """Raises DamageError where there are more or fewer than the first line says."""
        if self._count != self._header.commands:
            raise DamageError(
                0, f"{self._count} commands instead of {self._header.commands} in the file"
            )

    @staticmethod
    def _read(stream: StreamCommands, body: bytes, group: Group) -> Iterator[Plain]:
        try:
            yield from stream.feed(body)
        except DamageError as error:
            raise DamageError(
                group.offset, f"a frame holds no commands: at {error.offset} {error.reason}"
            ) from None

    @staticmethod
    def _number(word: bytes, group: Group) -> int:
        if not word.isdigit() or len(word) > 7:
            raise DamageError(group.offset, "a SELECT of no database")
        return int(word)


def rollback_files(folder: str) -> list[str]:
    """Paths of the rollback files in a folder, oldest first, at most ROLLBACK_FILES_MAX; none where
    it cannot be read."""
    return [path for _, path, _ in sorted(_found(folder))[:ROLLBACK_FILES_MAX]]


def rollback_usage(folder: str) -> tuple[int, int]:
    """How many there are in a folder, and their bytes together."""
    sizes = [size for _, _, size in _found(folder)]
    return len(sizes), sum(sizes)


def _found(folder: str) -> list[tuple[int, str, int]]:
    """Age, path and bytes of each."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                    status = entry.stat()
                    found.append((status.st_mtime_ns, entry.path, status.st_size))
    except OSError:
        return []
    return found
