"""The slow log: the last commands that took longer than a threshold, newest first.

Source: https://redis.io/docs/latest/commands/slowlog-get/.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: Arguments kept of one request, and bytes of one argument.
ARGUMENTS_MAX = 32
ARGUMENT_BYTES_MAX = 128


@dataclass(frozen=True)
class SlowEntry:
    """One slow command: when it ended (Unix seconds), how long it took, and who sent it."""

    number: int
    time_s: int
    duration_us: int
    args: list[bytes]
    peer: str
    name: bytes

    def reply(self) -> list[object]:
        peer = self.peer.encode("utf-8", "surrogateescape")
        return [self.number, self.time_s, self.duration_us, self.args, peer, self.name]


class SlowLog:
    """At most `length_max` entries; numbers go on rising over `reset`."""

    def __init__(self, length_max: int) -> None:
        self.length_max = length_max
        self.entries: deque[SlowEntry] = deque()
        self._next = 0

    def add(self, now_ms: int, duration_us: int, args: list[bytes], peer: str, name: bytes) -> None:
        entry = SlowEntry(self._next, now_ms // 1000, duration_us, shortened(args), peer, name)
        self._next += 1
        self.entries.appendleft(entry)
        self.trim(self.length_max)

    def trim(self, length_max: int) -> None:
        """Sets how many entries are kept."""
        self.length_max = length_max
        while len(self.entries) > length_max:
            self.entries.pop()

    def reset(self) -> None:
        self.entries.clear()


def shortened(args: list[bytes]) -> list[bytes]:
    """The request cut to what an entry may hold, with what was cut told in words."""
    kept = args if len(args) <= ARGUMENTS_MAX else args[: ARGUMENTS_MAX - 1]
    shown = []
    for arg in kept:
        more = len(arg) - ARGUMENT_BYTES_MAX
        shown.append(
            arg if more <= 0 else b"%b... (%d more bytes)" % (arg[:ARGUMENT_BYTES_MAX], more)
        )
    if len(args) > ARGUMENTS_MAX:
        shown.append(b"... (%d more arguments)" % (len(args) - len(kept)))
    return shown
