"""A pause of the stream: what comes is verified and held, and applied when the pause ends.

CLIENT PAUSE holds the writes of a leader's clients, and so the writes of a follower's leader: the
data stands still. The position stays where it is, the link stays up (acknowledgements go on, of
that position). Memory is bounded: when STREAM_HELD_BYTES_MAX wait, the leader is not read from, and
keeps what follows in its backlog.

    not paused --pause--> what comes is held --end--> held is applied piece by piece --> not paused
                               |  too much: not reading; its silence is no timeout then

Invariant: nothing is held for a pause, and the leader is read from, once all of it was applied or
the link has ended.
"""

from dataclasses import dataclass

from replication.constants import STREAM_HELD_BYTES_MAX


@dataclass(slots=True)
class StreamPause:
    """What a follower knows of its pause."""

    on: bool = False
    holds: bool = False
    """Whether what is held is so because of a pause, and can be asked for again."""
    raw_bytes: int = 0
    """The end of a stock leader's stream that was not given out to be applied."""
    reading: bool = True
    """Whether the leader is read from."""

    def may_read(self, held_bytes: int) -> bool:
        """Whether there is room, with so many bytes of frames held."""
        if not (self.on or self.holds):
            return True
        return held_bytes + self.raw_bytes < STREAM_HELD_BYTES_MAX

    def reset(self) -> None:
        """The link has ended; the pause has not."""
        self.holds = False
        self.raw_bytes = 0
        self.reading = True


__all__ = ["StreamPause"]
