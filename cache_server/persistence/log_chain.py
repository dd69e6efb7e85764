"""The chain of a log: whether each frame follows from all before it.

    #CH: position 100, checksum a ── frame 100..140, history b ── frame 140..200, history c ── ...

A frame must begin where the one before it ended, and the history checksum carried over its body
must be the one in its header. A place line must name the very point at which the chain stands,
except that a checksum may begin to run anew at a place with another base. Commands without a seal
end the chain; the next place begins another.
"""

from __future__ import annotations

from cache_server.persistence.log_codec import DamageError, Group, Place, Placed
from replication.checksum import history_checksum


class Chain:
    """Where the chain stands; `place` is None where there is none."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.position = 0
        self.checksum = 0

    def placed(self, item: Placed) -> bool:
        """Goes on at a place; True if a chain begins there. Raises DamageError."""
        place, before = item.place, self.place
        self.place = place
        if before is None:
            self.position, self.checksum = place.position, place.checksum
            return True
        if place.position == self.position and place.base != before.base:
            self.checksum = place.checksum
        if place.position != self.position or place.checksum != self.checksum:
            raise DamageError(
                item.offset,
                f"the history goes on at {place.position} with checksum {place.checksum:016x},"
                f" and the frames before end at {self.position} with {self.checksum:016x}",
            )
        return False

    def group(self, group: Group) -> list[int]:
        """Adds frames, all or none; returns the checksum before each. Raises DamageError."""
        if self.place is None:
            raise DamageError(group.offset, "frames before the line that names their history")
        position, checksum = self.position, self.checksum
        before = []
        for frame in group.frames:
            if frame.start != position:
                raise DamageError(
                    group.offset, f"a frame for {frame.start} came where {position} was next"
                )
            before.append(checksum)
            checksum = history_checksum(frame.body, checksum)
            if checksum != frame.history:
                raise DamageError(
                    group.offset,
                    f"the frame at {frame.start} belongs to another history: its checksum is"
                    f" {frame.history:016x} and should be {checksum:016x}",
                )
            position = frame.end
        self.position, self.checksum = position, checksum
        return before

    def end(self) -> None:
        """Commands without a seal came."""
        self.place = None
