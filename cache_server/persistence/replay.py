"""Carrying out a log: its commands make the data what it was, its frames say where in history.

Two positions are kept. The *chain* is where the log stands: each frame must begin there and carry
the history checksum that follows from the bytes so far. The *data* position is how much of the
stream the data has seen: a base may have been taken later than the log begins, and what it has
already is passed over.

    base (a snapshot)     ............####                data position
    log                        [frame][frame][frame]      chain
                                    pass  cut    run

Commands run through their handlers without the dispatcher's checks and counts: they have happened.
A transaction of a stock server happens at its EXEC; sealed groups are whole anyway.

Invariant: nothing of a group runs unless it fits the chain.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from cache_server import client as states
from cache_server.errors import CommandError, ProtocolError
from cache_server.keyspace.database import EXPIRE_IGNORE
from cache_server.persistence.log_chain import Chain
from cache_server.persistence.log_codec import (
    DamageError,
    Group,
    Item,
    Place,
    Placed,
    Plain,
    TornError,
)
from cache_server.persistence.recovery import RecoveredHistory
from cache_server.wire import RequestReader
from replication.checksum import history_checksum
from replication.frames import Frame
from replication.history import HistoryMark

#: Commands of the stream that change no data, or whose unit is complete anyway.
_PASSED_OVER = frozenset(["multi", "exec", "ping", "replconf"])
_WORD_BYTES_MAX = 1 << 33


@dataclass(frozen=True)
class Tail:
    """The last frames of a log, and the mark before the first of them."""

    start: int
    mark: HistoryMark
    frames: list[Frame]


class Replay:
    """Takes the items of one log after the other. `server` has dispatcher and keyspace.

    `base` is the history that the base names, None where it names none; `tail_bytes_max` bounds the
    frames that are kept for followers."""

    def __init__(self, server: Any, base: RecoveredHistory | None, tail_bytes_max: int) -> None:
        self.server = server
        self.commands_run = 0
        self.refused = 0
        self._history = base
        #: Where it has moved to since: (position, database, epoch, checksum).
        self._moved: tuple[int, int, int, int] | None = None
        self._chain = Chain()
        self._client = server.new_client()
        self._client.flags |= states.REPLAY | states.DENY_BLOCKING
        self._reader = RequestReader(_WORD_BYTES_MAX)
        self._tail: deque[tuple[Frame, int]] = deque()
        self._tail_bytes = 0
        self._tail_bytes_max = tail_bytes_max
        self._queue: list[list[bytes]] | None = None
        self._queue_offset = 0
        if base is not None:
            self._select(base.stream_db)

    def new_file(self) -> None:
        """Another file begins. Redis selects database 0 there, and so do unsealed commands."""
        if self.history is None:
            self._select(0)

    def take(self, item: Item) -> None:
        """Carries an item out. Raises DamageError for one that does not fit what was before."""
        if type(item) is Group:
            self._group(item)
        elif type(item) is Plain:
            self._plain(item)
        elif type(item) is Placed:
            self._placed(item)

    def finish_file(self) -> None:
        """The file is at its end. Raises TornError within a transaction, which is then dropped."""
        if self._queue is not None:
            self._queue = None
            raise TornError(self._queue_offset, "the file ends within a transaction")

    @property
    def history(self) -> RecoveredHistory | None:
        """Which history the data belongs to, and how far; None once it left all we know."""
        moved, self._moved = self._moved, None
        if moved is not None and self._history is not None:
            self._history = self._history.moved(*moved)
        return self._history

    def _go_on(self, history: RecoveredHistory | None) -> None:
        self._history, self._moved = history, None

    @property
    def complete(self) -> bool:
        """Whether the log ends where the data does, so that history goes on from there."""
        chain, history = self._chain, self.history
        return chain.place is not None and history is not None and history.offset == chain.position

    @property
    def boot(self) -> str:
        """The run of the system in which the log was written last."""
        place = self._chain.place
        return "" if place is None else place.boot

    @property
    def tail(self) -> Tail | None:
        """What followers may be sent again; None where the log has no history."""
        chain = self._chain
        place = chain.place
        if place is None or not self.complete:
            return None
        if not self._tail:
            return Tail(chain.position, HistoryMark(chain.checksum, place.base), [])
        first, checksum_before = self._tail[0]
        mark = HistoryMark(checksum_before, place.base)
        return Tail(first.start, mark, [frame for frame, _ in self._tail])

    # -- history -------------------------------------------------------------------------------

    def _placed(self, item: Placed) -> None:
        if self._chain.placed(item):
            self._begin_chain(item.place, item.offset)
        self._name_history(item.place)

    def _begin_chain(self, place: Place, offset: int) -> None:
        self._tail.clear()
        self._tail_bytes = 0
        base = self.history
        if base is None:
            self._go_on(RecoveredHistory(place.replid, place.position, place.database))
            self._select(place.database)
        elif place.position > base.offset:
            raise DamageError(
                offset,
                f"the log goes on at {place.position} of the history, and the data before it ends"
                f" at {base.offset}",
            )
        elif base.replication_id not in (place.replid, place.replid2):
            raise DamageError(offset, "the log belongs to another history than its base")
        elif base.offset == place.position:
            self._check_base(place.checksum, offset)

    def _check_base(self, checksum: int, offset: int) -> None:
        """Whether the data before the log has the history checksum that the log has there."""
        base, place = self.history, self._chain.place
        if base is None or base.checksum is None or (place and place.base != base.base):
            return
        if base.checksum != checksum:
            raise DamageError(
                offset,
                f"the history checksum of the data at {base.offset} is {base.checksum:016x}, and"
                f" {checksum:016x} in the log",
            )

    def _name_history(self, place: Place) -> None:
        history, chain = self.history, self._chain
        if history is None:
            return
        at_chain = history.offset == chain.position
        self._go_on(
            RecoveredHistory(
                place.replid,
                history.offset,
                self._client.db.index,
                max(place.epoch, history.epoch),
                chain.checksum if at_chain else history.checksum,
                place.base,
                place.replid2,
                place.replid2_position,
            )
        )

    # -- sealed groups -------------------------------------------------------------------------

    def _group(self, group: Group) -> None:
        checksums = self._chain.group(group)
        end, moved, frames = self._chain.position, self._moved, group.frames
        history = self._history
        assert history is not None  # there is one where there is a chain
        done, epoch = (history.offset, history.epoch) if moved is None else (moved[0], moved[2])
        if done > frames[0].start:
            self._check_cut(group, checksums, done)
        if end > done:
            self._run_group(group, done)
        for frame, before in zip(frames, checksums):
            self._keep(frame, before)
        if end >= done:
            epoch = max(epoch, frames[-1].epoch)
            self._moved = (end, self._client.db.index, epoch, self._chain.checksum)

    def _check_cut(self, group: Group, checksums: list[int], done: int) -> None:
        """Whether the data, which ends within the group, has the checksum of the log there."""
        for frame, before in zip(group.frames, checksums):
            if frame.start < done <= frame.end:
                head = frame.body[: done - frame.start]
                self._check_base(history_checksum(head, before), group.offset)

    def _run_group(self, group: Group, done: int) -> None:
        """Carries out what is behind the position `done`."""
        reader = self._reader
        for frame in group.frames:
            if frame.start >= done:
                reader.feed(frame.body)
            elif frame.end > done:
                reader.feed(frame.body[done - frame.start :])
        try:
            self._run_requests(reader, group.offset)
        except ProtocolError as error:
            raise DamageError(group.offset, f"a frame holds no commands: {error}") from None
        if reader.buffered_bytes:
            raise DamageError(group.offset, "a group of frames ends within a command")

    def _run_requests(self, reader: RequestReader, offset: int) -> None:
        client, dispatcher = self._client, self.server.dispatcher
        known, passed_over = None, False
        while True:
            words = reader.next_request()
            if words is None:
                return
            row = dispatcher.find(words)
            if row is not known:
                if row is None:
                    raise self._unknown(words, offset)
                known, passed_over = row, row.name in _PASSED_OVER
            if not passed_over:
                self._call(client, row, words)

    def _keep(self, frame: Frame, checksum_before: int) -> None:
        tail = self._tail
        tail.append((frame, checksum_before))
        self._tail_bytes += len(frame.body)
        while self._tail_bytes - len(tail[0][0].body) >= self._tail_bytes_max:
            self._tail_bytes -= len(tail.popleft()[0].body)

    # -- commands without a seal ---------------------------------------------------------------

    def _plain(self, item: Plain) -> None:
        # Whoever wrote this knows nothing of our history: the data leaves it here.
        self._go_on(None)
        self._chain.end()
        words = item.words
        row = self._find(words, item.offset)
        if row.name == "multi":
            self._queue, self._queue_offset = [], item.offset
        elif row.name == "exec":
            queue, self._queue = self._queue or [], None
            for queued in queue:
                self._call(self._client, self._find(queued, item.offset), queued)
        elif self._queue is not None:
            self._queue.append(words)
        else:
            self._call(self._client, row, words)

    def _find(self, words: list[bytes], offset: int) -> Any:
        try:
            row = self.server.dispatcher.find(words)
        except CommandError as error:
            raise DamageError(offset, error.text.decode("latin-1")) from None
        if row is None:
            raise self._unknown(words, offset)
        return row

    def _unknown(self, words: list[bytes], offset: int) -> DamageError:
        name = words[0][:128].decode("utf-8", "backslashreplace")
        return DamageError(offset, f"Unknown command '{name}'")

    def _call(self, client: Any, row: Any, words: list[bytes]) -> None:
        self.commands_run += 1
        if not row.accepts(len(words)):
            return
        try:
            row.handler(client, words)
        except CommandError:
            self.refused += 1  # what is an error now was one when it was written
        client.effects = None

    def _select(self, index: int) -> None:
        databases = self.server.keyspace.databases
        self._client.db = databases[index if 0 <= index < len(databases) else 0]


class Replaying:
    """The keyspace while a log is replayed: keys expire only where the log says so."""

    def __init__(self, server: Any) -> None:
        self._keyspace = server.keyspace
        self._dispatcher = server.dispatcher
        self._mode = self._keyspace.expire_mode

    def __enter__(self) -> None:
        self._dispatcher.begin_pass()
        self._keyspace.expire_mode = EXPIRE_IGNORE

    def __exit__(self, *_: object) -> None:
        self._keyspace.expire_mode = self._mode
