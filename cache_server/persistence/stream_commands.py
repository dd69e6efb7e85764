"""Commands out of pieces of the replication stream, strictly: RESP arrays and nothing else.

A client's reader takes inline requests too, so it would make commands out of the middle of a value.
Where a piece ends within a command the rest is waited for, and read once when it is all there.
"""

from __future__ import annotations

from collections.abc import Iterator

from cache_server.persistence.log_codec import DamageError, LogParser, Plain

#: The parser knows how much a word lacks; of lines it guesses, and never by more than this.
_GUESSED_BYTES = 64


class StreamCommands:
    """Reads on from `position`, at which a command begins. Offsets of what it gives are positions
    of the stream."""

    def __init__(self, position: int = 0) -> None:
        self._parser = LogParser(position)
        self._held: list[bytes] = []
        self._held_bytes = 0

    @property
    def at_boundary(self) -> bool:
        """Whether all that was fed has been given out."""
        return not self._held and not self._parser.buffered_bytes

    def feed(self, data: bytes) -> Iterator[Plain]:
        """The commands that end in this piece. Raises DamageError for what is none, after which the
        reader is of no use."""
        parser = self._parser
        self._held.append(data)
        self._held_bytes += len(data)
        if parser.wanted - parser.buffered_bytes - self._held_bytes > _GUESSED_BYTES:
            return
        parser.feed(b"".join(self._held))
        self._held, self._held_bytes = [], 0
        while (item := parser.next_item()) is not None:
            if not isinstance(item, Plain):
                raise DamageError(parser.offset, "no command stands here")
            yield item
