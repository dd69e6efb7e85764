"""A file for what a full sync has yet to send or to apply and must not hold in memory.

It is made when the first piece goes there, has no name (a crash leaves nothing behind), and is cut
to nothing whenever nothing in it is needed, so a follower that catches up gives the disk back.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any


class OverflowFile:
    """The shell's side of `replication.held_log.Overflow`, in `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: Any = None
        self._end = 0

    def append(self, data: bytes) -> int:
        """Writes behind what is there; returns where. Raises OSError, and has written nothing."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        offset, descriptor = self._end, self._file.fileno()
        written = os.pwrite(descriptor, data, offset)
        if written != len(data):
            raise OSError(f"{written} bytes of {len(data)} could be written")
        self._end += written
        return offset

    def read(self, offset: int, count: int) -> bytes:
        """What was written there. Raises OSError."""
        return os.pread(self._file.fileno(), count, offset)

    def clear(self) -> None:
        """Gives the disk back."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._end = 0
