"""A data node's disk: the lease's state file, and the log of frames where one is kept.

What survives which crash:

    SIGKILL      all that was written: the page cache is the kernel's
    power lost   what was synced, and of the rest a beginning of any length, perhaps with the last
                 frame torn in its middle

State files are written beside the old one, synced and renamed, so they are whole: before the sync
is over a crash leaves the old one or the new one. A slow disk makes the process wait for it.

The log is the data set at some position (`base`) and the frames since, with the history's ids among
them, as `cache_server/persistence/append_log.py` keeps it. Not simulated: what recovery refuses as
a whole (damage in the middle); there a node starts empty, as one without a log does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from replication.failover.cluster_view import LeaseState
from replication.frames import Frame, FrameError, parse
from replication.history import HistoryMark

REGISTERS = 5


def register_of(entry: int) -> int:
    """The register that an entry is pushed to."""
    return entry % REGISTERS


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a node finds when it starts."""

    data: list[list[int]]
    position: int
    mark: HistoryMark
    frames: list[Frame]
    replid: str
    second: tuple[str, int]
    epoch: int
    intact: bool
    """Whether nothing that was written can be missing."""


class Disk:
    """Outlives all lives of its node."""

    def __init__(self, lease: LeaseState, chance: random.Random, log: str) -> None:
        self.lease = lease
        #: A state file that is being written: a crash leaves this one or the old one.
        self.lease_in_flight: LeaseState | None = None
        self.log_kept = log != "none"
        self._synced_always = log == "always"
        self._chance = chance
        self._base: tuple[Any, ...] | None = None
        self._records: list[bytes | tuple[Any, ...]] = []
        self._synced = 0
        self._intact = True
        self._suspended = False
        self.rollback: set[int] = set()
        """Entries in rollback files."""

    # Writing.

    def begin(self, base: tuple[Any, ...]) -> None:
        """A new log: the data set as it is now."""
        if self._suspended:
            return
        self._base, self._records, self._synced = base, [], 0

    def append(self, sealed: bytes) -> None:
        """A frame goes into the log."""
        if self._suspended:
            return
        self._records.append(sealed)
        if self._synced_always:
            self._synced = len(self._records)

    def note(self, ids: tuple[Any, ...]) -> None:
        """The history's ids or epoch changed."""
        if self._base is None or self._suspended:
            return
        if self._records:
            self._records.append(ids)
        else:
            self._base = (*self._base[:3], ids)

    def suspend(self) -> None:
        """The log stays as it is until a new one begins: the data is between two histories."""
        self._suspended = True

    def resume(self) -> None:
        """The data is of one history again."""
        self._suspended = False

    def sync(self) -> None:
        """Once a second."""
        self._synced = len(self._records)

    # Crashing and coming back.

    def crash(self, power: bool) -> None:
        """What is lost is lost."""
        if self.lease_in_flight is not None and self._chance.random() < 0.5:
            self.lease = self.lease_in_flight
        self.lease_in_flight = None
        self._intact, self._suspended = not power, False
        if not power:
            return
        kept = self._chance.randint(self._synced, len(self._records))
        torn = self._records[kept : kept + 1]
        del self._records[kept:]
        if torn and isinstance(torn[0], bytes):
            self._records.append(torn[0][: self._chance.randrange(len(torn[0]))])

    def recover(self) -> Recovered | None:
        """The data set as the disk has it; None without a log."""
        if self._base is None:
            return None
        base_data, position, mark, ids = self._base
        data, frames = [list(each) for each in base_data], []
        for record in self._records:
            if isinstance(record, tuple):
                ids = record
                continue
            try:
                frame = parse(record)
            except FrameError:
                break
            frames.append(frame)
            for entry in entries_in(frame.body):
                data[register_of(entry)].append(entry)
        replid, second, epoch = ids
        epoch = max([epoch, *(frame.epoch for frame in frames)])
        return Recovered(data, position, mark, frames, replid, second, epoch, self._intact)


def entries_in(body: bytes) -> list[int]:
    """The entries that a piece of the stream writes; it is whole commands."""
    lines = body.split(b"\r\n")
    entries, at = [], 0
    while at < len(lines) - 1:
        if lines[at + 2] == b"RPUSH":
            entries.append(int(lines[at + 6]))
        at += 1 + 2 * int(lines[at][1:])
    return entries
