"""The tail of our own history behind a fork: what it holds, which keys it touched, where it lies.

    backlog in memory          ......[fork ~~~~ tail ~~~~ end]      if it goes back to the fork
    log on disk         ...............[fork ~~~~ tail ~~~~ end]    if not, and if the log does
    what is left                              [.. tail .. end]      if neither: the rest is lost

Everything here may run in a thread: it looks at bytes that nobody changes and at the command table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from cache_server.commands.table import Command
from cache_server.commands.touched_keys import Key, UntraceableError, find_row, touched_keys
from cache_server.constants import LOG_READ_BYTES
from cache_server.disk import Disk
from cache_server.persistence.log_chain import Chain
from cache_server.persistence.log_codec import DamageError, Group, LogParser, Placed
from cache_server.persistence.rollback import UNKNOWN_DB, is_discarded
from cache_server.persistence.stream_commands import StreamCommands
from replication.checksum import history_checksum
from replication.frames import HEADER_BYTES, Frame, parse_header, reseal_tail
from replication.history import HistoryMark

#: How far before the fork the database selected there is looked for, in bytes.
SELECT_SEARCH_BYTES = 1024 * 1024
#: Places at which a command is looked for, where the tail's beginning is lost.
ATTEMPTS_MAX = 1000


@dataclass
class Source:
    """Sealed frames from `start` on. `mark` is the history checksum there, and `database` the one
    selected there, where it is known; `before` are bodies that end at `start`."""

    start: int
    frames: list[bytes]
    mark: HistoryMark
    database: int = UNKNOWN_DB
    before: list[bytes] = field(default_factory=list)


@dataclass
class Tail:
    """What the frames hold. `groups` are the frames, each group ending where a command and a
    transaction do; `untraceable` says why the keys do not tell all that changed, "" if they do."""

    start: int
    mark: HistoryMark
    groups: list[list[bytes]] = field(default_factory=list)
    database: int = UNKNOWN_DB
    commands: int = 0
    keys: set[Key] = field(default_factory=set)
    untraceable: str = ""


class _Scan:
    """One reading of the frames, from a point at which a command begins."""

    def __init__(self, commands: Mapping[bytes, Command], start: int, mark: HistoryMark) -> None:
        self.tail = Tail(start, mark)
        self.selects = False
        self._commands = commands
        self._stream = StreamCommands(start)
        self._group: list[bytes] = []
        self._database = UNKNOWN_DB
        self._in_transaction = False

    def take(self, sealed: bytes) -> None:
        """Reads a frame. Raises DamageError where it does not go on as commands do."""
        self._group.append(sealed)
        for item in self._stream.feed(sealed[HEADER_BYTES:]):
            self._command(item.words)
        if self._stream.at_boundary and not self._in_transaction:
            self.tail.groups.append(self._group)
            self._group = []

    @property
    def complete(self) -> bool:
        """Whether what was read ends where a command does."""
        return self._stream.at_boundary

    def finish(self, database: int, database_at_end: int, databases: int) -> Tail:
        """The tail, once it is known (or not) which database was selected at its beginning."""
        tail = self.tail
        if self._group:
            tail.groups.append(self._group)
        if database == UNKNOWN_DB and not self.selects:
            database = database_at_end
        tail.database = database
        unplaced = {key for key in tail.keys if key[0] == UNKNOWN_DB}
        if unplaced:
            wherever = range(databases) if database == UNKNOWN_DB else (database,)
            tail.keys -= unplaced
            tail.keys.update((index, name) for index in wherever for _, name in unplaced)
        return tail

    def _command(self, words: list[bytes]) -> None:
        name = words[0].lower()
        if name == b"select":
            self._database = _database(words[-1])
            self.selects = True
        elif name == b"multi":
            self._in_transaction = True
        elif name == b"exec":
            self._in_transaction = False
        elif is_discarded(words):
            self.tail.commands += 1
            try:
                row = find_row(self._commands, words)
                self.tail.keys.update(touched_keys(row, words, self._database).keys)
            except UntraceableError as error:
                self.tail.untraceable = self.tail.untraceable or str(error)


def scan_tail(
    commands: Mapping[bytes, Command], source: Source, database_at_end: int, databases: int
) -> Tail | None:
    """Reads the whole of it; None where no command can be made out."""
    frames = source.frames
    if not frames:
        return Tail(source.start, source.mark, database=database_at_end)
    database = source.database
    if database == UNKNOWN_DB and source.before:
        database = last_selected(source.before)
    for skipped, skip in islice(_beginnings(frames), ATTEMPTS_MAX):
        rest = frames[skipped:]
        start, mark = _advanced(source, skipped, skip)
        if skip:
            rest = [reseal_tail(rest[0], skip), *rest[1:]]
        scan = _Scan(commands, start, mark)
        try:
            for each in rest:
                scan.take(each)
        except DamageError:
            continue  # it was in the middle of a command after all
        if scan.complete:
            known = start == source.start
            return scan.finish(database if known else UNKNOWN_DB, database_at_end, databases)
    return None


def _beginnings(frames: list[bytes]) -> Iterator[tuple[int, int]]:
    """Where a command may begin: the number of a frame, and a place in its body."""
    for number, sealed in enumerate(frames):
        body = sealed[HEADER_BYTES:]
        if body.startswith(b"*"):
            yield number, 0
        at = body.find(b"\r\n*")
        while at >= 0:
            yield number, at + 2
            at = body.find(b"\r\n*", at + 2)


def _advanced(source: Source, skipped: int, skip: int) -> tuple[int, HistoryMark]:
    """The position, and the history checksum there, at a place in a frame of the source."""
    start = source.start + sum(len(each) - HEADER_BYTES for each in source.frames[:skipped])
    before = source.mark.checksum
    if skipped:
        before = parse_header(source.frames[skipped - 1]).history
    head = source.frames[skipped][HEADER_BYTES : HEADER_BYTES + skip]
    return start + skip, HistoryMark(history_checksum(head, before), source.mark.base)


def last_selected(bodies: list[bytes]) -> int:
    """The last database that is selected in these pieces of a stream, which end where a command
    does; UNKNOWN_DB where none is. They may begin within a command."""
    for skipped, body in enumerate(bodies):
        if not body.startswith(b"*"):
            continue
        stream, found = StreamCommands(), UNKNOWN_DB
        try:
            for item in stream.feed(b"".join(bodies[skipped:])):
                if item.words[0].lower() == b"select":
                    found = _database(item.words[-1])
        except DamageError:
            continue
        if stream.at_boundary:
            return found
    return UNKNOWN_DB


def _database(word: bytes) -> int:
    return int(word) if word.isdigit() and len(word) < 8 else UNKNOWN_DB


# -- the log on disk ------------------------------------------------------------------------------


class _LogTail:
    """Frames of a log from a position on, with what has to be known where they begin."""

    def __init__(self, fork: int) -> None:
        self.fork = fork
        self.chain = Chain()
        self.found: Source | None = None
        self._database = UNKNOWN_DB

    def take(self, item: object) -> None:
        if isinstance(item, Placed):
            if self.chain.placed(item):
                self.found = None
            self._database = item.place.database
        elif isinstance(item, Group):
            checksums = self.chain.group(item)
            if self.chain.position > self.fork:
                self._keep(item.frames, checksums)
            else:
                self._follow_database(item.frames)

    def _keep(self, frames: list[Frame], checksums: list[int]) -> None:
        place = self.chain.place
        assert place is not None  # a group without one is refused
        for frame, before in zip(frames, checksums):
            if frame.end <= self.fork:
                self._follow_database([frame])
                continue
            sealed = frame.sealed
            if self.found is None:
                skip = max(0, self.fork - frame.start)
                checksum = history_checksum(frame.body[:skip], before)
                if skip:
                    sealed = reseal_tail(sealed, skip)
                    self._follow_bytes(frame.body[:skip])
                mark = HistoryMark(checksum, place.base)
                self.found = Source(frame.start + skip, [], mark, self._database)
            self.found.frames.append(sealed)

    def _follow_database(self, frames: list[Frame]) -> None:
        self._follow_bytes(b"".join(frame.body for frame in frames))

    def _follow_bytes(self, data: bytes) -> None:
        if b"select" not in data.lower():
            return
        selected = last_selected([data])
        if selected != UNKNOWN_DB:
            self._database = selected


def read_log_tail(disk: Disk, paths: Iterable[str], fork: int, end: int) -> Source | None:
    """The frames behind the fork, or the last of them, from the increments of our log. None where
    it does not end at `end`, or cannot be read."""
    tail = _LogTail(fork)
    try:
        for path in paths:
            parser = LogParser()
            with disk.open(path) as file:
                while data := file.read(max(LOG_READ_BYTES, parser.wanted - parser.buffered_bytes)):
                    parser.feed(data)
                    while (item := parser.next_item()) is not None:
                        tail.take(item)
    except (OSError, DamageError):
        return None
    return tail.found if tail.chain.position == end else None
