"""The flight recorder: role changes and what led to them, kept across restarts.

One line an event: Unix ms, channel, payload. The file is only appended to; at half of its limit it
becomes the `.old` one, so the last events are always there and the disk never fills. A recorder
that cannot write says so once and goes on: recording decides nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque

log = logging.getLogger("cache_server")

#: Of both files together, in bytes.
FILES_BYTES_MAX = 2 * 1024 * 1024
LINES_MAX = 1_000
_RECORDED = (
    "+switch-master",
    "+odown",
    "-odown",
    "+sdown master",
    "-sdown master",
    "+try-failover",
    "+force-failover",
    "+elected-leader",
    "+vote-for-leader",
    "+selected-slave",
    "+promoted-slave",
    "+failover-",
    "-failover-",
    "+config-update-from",
    "+convert-to-slave",
    "+reboot",
    "-lease-refused",
    "+tilt",
    "-tilt",
    "+monitor",
    "-monitor",
)


class Recorder:
    """Of one sentinel. `path` is in its folder."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._failed = False

    def note(self, channel: str, payload: str) -> None:
        """Records an event where it is one of role changes."""
        if not f"{channel} {payload}".startswith(_RECORDED):
            return
        word = " ".join(payload.split())
        try:
            with open(self.path, "ab") as file:
                file.write(
                    f"{time.time_ns() // 1_000_000} {channel} {word}\n".encode(
                        "utf-8", "surrogateescape"
                    )
                )
                full = file.tell() > FILES_BYTES_MAX // 2
            if full:
                os.replace(self.path, f"{self.path}.old")
        except OSError as error:
            if not self._failed:
                log.warning("The history %s cannot be written: %s", self.path, error)
            self._failed = True

    def last(self, count: int) -> list[str]:
        """The newest `count` lines, oldest first. What does not parse is passed over."""
        lines: deque[str] = deque(maxlen=min(count, LINES_MAX))
        for path in (f"{self.path}.old", self.path):
            try:
                with open(path, "rb") as file:
                    raw = file.read(FILES_BYTES_MAX)
            except FileNotFoundError:
                continue
            for line in raw.decode("utf-8", "replace").splitlines():
                if line.partition(" ")[0].isdigit():
                    lines.append(line)
        return list(lines)
