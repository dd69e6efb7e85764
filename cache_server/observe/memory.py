"""How much memory is in use: the figure that maxmemory is compared with, and those INFO shows.

It is what was allocated since the server started, on top of a round figure for the program
itself: the interpreter and its modules (some 20 MB that no eviction could free) are not in it, so
that a maxmemory from a redis.conf means the same amount of data here. INFO's used_memory_rss shows
all.

With the compiled core every allocation of Python is counted as it happens (`_core/memory.pyx`): the
figure falls with a deletion at once and exactly. Without it the number of allocated blocks is known
at once, and their mean size is taken from the moment when the process was largest: an estimate, but
one that falls when keys are deleted, which the resident size does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

#: What stands for the program itself, in bytes: what redis-server uses when it is empty.
PROGRAM_BYTES = 1024 * 1024
#: Assumed before the process has grown by enough to measure, in bytes.
_BLOCK_BYTES = 80.0
_GROWTH_BYTES_MIN = 4 * 1024 * 1024


class MemoryGauge:
    """`counted_bytes()`: allocated less freed since the count began, or None without the core."""

    def __init__(self, counted_bytes: Callable[[], int] | None) -> None:
        self._counted_bytes = counted_bytes
        self._block_bytes = _BLOCK_BYTES
        #: Memory that neither counts: the interpreters of scripts have an allocator of their own.
        self.outside_bytes = 0
        self.begin()

    def begin(self) -> None:
        """The program is in place and there is no data yet: what is there now is the program."""
        self._base_blocks = sys.getallocatedblocks()
        self._base_bytes = 0 if self._counted_bytes is None else self._counted_bytes()
        self._base_anonymous_bytes = self._anonymous_bytes_max = status_bytes("RssAnon")

    @property
    def exact(self) -> bool:
        return self._counted_bytes is not None

    def used_bytes(self) -> int:
        """Bytes in use now."""
        if self._counted_bytes is not None:
            return PROGRAM_BYTES + self._counted_bytes() - self._base_bytes + self.outside_bytes
        blocks = max(0, sys.getallocatedblocks() - self._base_blocks)
        return PROGRAM_BYTES + int(blocks * self._block_bytes) + self.outside_bytes

    def refresh(self) -> None:
        """A few times a second: the mean size of a block, where blocks are all that is counted."""
        if self._counted_bytes is not None:
            return
        anonymous_bytes = status_bytes("RssAnon")
        growth_bytes = anonymous_bytes - self._base_anonymous_bytes
        blocks = sys.getallocatedblocks() - self._base_blocks
        if anonymous_bytes > self._anonymous_bytes_max and growth_bytes >= _GROWTH_BYTES_MIN:
            self._anonymous_bytes_max = anonymous_bytes
            self._block_bytes = growth_bytes / max(1, blocks)


def status_bytes(field: str) -> int:
    """A size from /proc/self/status, in bytes; 0 where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
