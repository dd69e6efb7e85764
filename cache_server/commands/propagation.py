"""What a change becomes in the stream: effects, in order, in whole units.

Commands that ran together (a transaction, a command and the expiries that it caused) are one unit
and travel as one: more than one command in a unit is wrapped in MULTI ... EXEC, as Redis 7 does it.
The stream is RESP commands; a SELECT precedes a command for another database.

Invariant: nothing of a unit is in `writer` before the unit is complete.
"""

from __future__ import annotations

from collections.abc import Callable

from cache_server.wire import ReplyWriter


class Propagation:
    """Collects a unit and encodes it. `wake` is called when the stream becomes non-empty.

    `active` is False while nobody wants the stream (no backlog, no log): nothing is collected."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.active = False
        self.pending: list[tuple[int, list[bytes]]] = []
        self._writer = ReplyWriter()
        self._selected = -1
        self._wake = wake

    def add(self, db_index: int, args: list[bytes]) -> None:
        """Adds a command to the unit that is running."""
        if self.active:
            self.pending.append((db_index, args))

    def add_alone(self, db_index: int, args: list[bytes]) -> None:
        """A unit of one command, as most are: it goes into the stream at once. Nothing pends."""
        if len(self._writer) == 0:
            self._wake()
        if db_index != self._selected:
            self._select(db_index)
        self._writer.write_command(args)

    def finish_unit(self) -> None:
        """The unit is complete: it goes into the stream."""
        pending, self.pending = self.pending, []
        if not pending:
            return
        writer = self._writer
        if len(writer) == 0:
            self._wake()
        several = len(pending) > 1
        if several:
            self._select(pending[0][0])
            writer.write_command([b"MULTI"])
        for db_index, args in pending:
            if db_index != self._selected and db_index >= 0:
                self._select(db_index)
            writer.write_command(args)
        if several:
            writer.write_command([b"EXEC"])

    def take(self) -> bytes:
        """The stream's bytes since the last call."""
        return self._writer.take()

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be taken."""
        return len(self._writer) > 0

    @property
    def selected_db(self) -> int:
        """The database that the stream has selected; -1 for none yet."""
        return self._selected

    def forget_selected(self) -> None:
        """The next command is preceded by a SELECT (a follower begins to read here)."""
        self._selected = -1

    def _select(self, db_index: int) -> None:
        if db_index != self._selected and db_index >= 0:
            self._writer.write_command([b"SELECT", b"%d" % db_index])
            self._selected = db_index
