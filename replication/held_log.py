"""Pieces that were made and are still needed by somebody: in memory up to a limit, then elsewhere.

The problem: during a full sync the fast must not wait for the slow (a leader for its follower, a
follower for its own loading), and neither may the memory of either grow with the data. The idea:
pieces in order, each with a number; those beyond `memory_max_bytes` go to an overflow, a file where
the shell has one. What is held leaves at the front.

    number:     first                                   end
                 | memory | memory | file | file | memory |
                 oldest still needed                      the next one appended

Invariants: numbers from `first` to `end` can be read, and nothing else; the overflow holds nothing
once no piece is in it. An overflow that fails costs memory, not the piece.
"""

from collections import deque
from typing import Protocol


class Overflow(Protocol):
    """Where pieces go that memory is not to hold. Each may raise OSError."""

    def append(self, data: bytes) -> int:
        """Keeps a piece; returns where."""

    def read(self, offset: int, count: int) -> bytes:
        """What was kept there."""

    def clear(self) -> None:
        """Nothing in it is needed any more."""


class HeldLog:
    """A queue of byte strings that may be read more than once."""

    __slots__ = (
        "_memory_max_bytes",
        "_overflow",
        "_pieces",
        "failures",
        "first",
        "memory_bytes",
        "overflow_bytes",
    )

    def __init__(self, memory_max_bytes: int, overflow: Overflow | None = None) -> None:
        self._memory_max_bytes = memory_max_bytes
        self._overflow = overflow
        self._pieces: deque[bytes | tuple[int, int]] = deque()
        self.first = 0
        self.memory_bytes = 0
        self.overflow_bytes = 0
        self.failures = 0
        """Pieces that the overflow refused, and that are in memory therefore."""

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def end(self) -> int:
        """The number that the next piece gets."""
        return self.first + len(self._pieces)

    @property
    def held_bytes(self) -> int:
        """All that is held."""
        return self.memory_bytes + self.overflow_bytes

    def append(self, data: bytes) -> None:
        """Holds one more piece."""
        if self._overflow is not None and self.memory_bytes + len(data) > self._memory_max_bytes:
            try:
                offset = self._overflow.append(data)
            except OSError:
                self.failures += 1
            else:
                self._pieces.append((offset, len(data)))
                self.overflow_bytes += len(data)
                return
        self._pieces.append(data)
        self.memory_bytes += len(data)

    def read(self, number: int) -> bytes:
        """The piece of that number. Raises OSError where the overflow cannot give it back."""
        piece = self._pieces[number - self.first]
        if isinstance(piece, bytes):
            return piece
        assert self._overflow is not None
        data = self._overflow.read(*piece)
        if len(data) != piece[1]:
            raise OSError(f"{len(data)} bytes came back of {piece[1]}")
        return data

    def release(self, number: int) -> None:
        """Lets go of every piece before that one."""
        while self._pieces and self.first < number:
            piece = self._pieces.popleft()
            self.first += 1
            if isinstance(piece, bytes):
                self.memory_bytes -= len(piece)
                continue
            self.overflow_bytes -= piece[1]
            if not self.overflow_bytes and self._overflow is not None:
                self._overflow.clear()

    def clear(self) -> None:
        """Lets go of all."""
        self.release(self.end)


__all__ = ["HeldLog", "Overflow"]
