"""How much memory is in use: the figure that maxmemory is compared with, and those INFO shows.

With the compiled core every allocation of Python is counted as it happens (`_core/memory.pyx`): the
figure falls with a deletion at once and exactly. Without it the number of allocated blocks is known
at once, and their mean size is taken from the moment when the process was largest: an estimate, but
one that falls when keys are deleted, which the resident size does not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

#: Assumed before the first measurement, in bytes.
_BLOCK_BYTES = 80.0


class MemoryGauge:
    """`counted_bytes()`: allocated less freed since the count began, or None without the core."""

    def __init__(self, counted_bytes: Callable[[], int] | None) -> None:
        self._counted_bytes = counted_bytes
        self._anonymous_bytes_max = 0
        self._block_bytes = _BLOCK_BYTES
        self._base_bytes = 0
        if counted_bytes is not None:
            self._base_bytes = max(0, status_bytes("RssAnon") - counted_bytes())
        self.refresh()

    @property
    def exact(self) -> bool:
        return self._counted_bytes is not None

    def used_bytes(self) -> int:
        """Bytes allocated now."""
        if self._counted_bytes is not None:
            return self._base_bytes + self._counted_bytes()
        return int(sys.getallocatedblocks() * self._block_bytes)

    def refresh(self) -> None:
        """A few times a second: the mean size of a block, where blocks are all that is counted."""
        if self._counted_bytes is not None:
            return
        anonymous_bytes = status_bytes("RssAnon")
        if anonymous_bytes > self._anonymous_bytes_max:
            self._anonymous_bytes_max = anonymous_bytes
            self._block_bytes = anonymous_bytes / sys.getallocatedblocks()


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
