"""How much a leader may lose: `max-loss-ms` and `max-loss-bytes` (durability async).

Problem: with asynchronous replication the writes that no follower has are lost with the leader, and
nothing limits how many that are while a follower is slow or away.

Idea: the leader watches its oldest unreplicated byte. From half of the bound on it answers later
and later, so that clients slow down to what the followers take; at the bound it refuses writes.

A write is admitted only while the oldest unreplicated one is younger than the bound, so all that
can be lost was written within one such span, and is no more than the bound and one turn's writes.

A majority of sentinels that is cut off from the leader may promote a follower that is cut off, too,
while another one still follows the leader. So a leader under lease that the majority has not
confirmed for the time of the bound refuses as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Of the bound: where answers begin to wait.
_SLOW_FROM = 0.5
#: The longest wait of one answer, as a part of the bound.
_WAIT_MAX = 0.2
_BYTES_WAIT_MS_MAX = 50.0
_MARKS_MAX = 1_024


@dataclass(slots=True)
class LossBound:
    """0 is no bound. Times are ms of one monotonic clock, positions bytes of the stream."""

    ms_max: int = 0
    bytes_max: int = 0
    _safe: int = -1
    _safe_ms: float = 0.0
    """When all was replicated, last."""
    _marks: list[tuple[int, float]] = field(default_factory=list)
    """(end of the stream, when it was first seen there), ascending, of what is not safe."""

    @property
    def bounded(self) -> bool:
        """Whether there is a bound."""
        return self.ms_max > 0 or self.bytes_max > 0

    def begin(self, now_ms: float) -> None:
        """This node begins to lead or to follow: it owes nothing yet."""
        self._safe, self._safe_ms = -1, now_ms
        self._marks.clear()

    def note(self, acked: int, end: int, streaming: bool, now_ms: float) -> tuple[float, int]:
        """Takes the best acknowledgement and the stream's end; returns (age in ms, bytes) of what
        would be lost. A node without a stream (`streaming` False) has nobody who has its writes,
        and cannot tell how many bytes these are: they count as the bound.
        """
        self._safe = max(self._safe, min(acked, end))
        marks = self._marks
        if streaming and self._safe >= end:
            self._safe_ms = now_ms
            marks.clear()
            return 0.0, 0
        if not streaming:
            return now_ms - self._safe_ms, self.bytes_max
        if not marks or (marks[-1][0] != end and len(marks) < _MARKS_MAX):
            marks.append((end, now_ms))
        while len(marks) > 1 and marks[0][0] <= self._safe:
            del marks[0]
        return now_ms - marks[0][1], end - max(0, self._safe)

    def reached(self, age_ms: float, size: int) -> bool:
        """Whether the next write has to be refused."""
        if self.ms_max and age_ms >= self.ms_max:
            return True
        return bool(self.bytes_max) and size >= self.bytes_max

    def unsure(self, unconfirmed_ms: float) -> bool:
        """Whether the sentinels may be replacing the leader since so long that writes end."""
        return bool(self.ms_max) and unconfirmed_ms >= self.ms_max

    def wait_ms(self, age_ms: float, size: int) -> float:
        """How long an answer is to wait for the followers; 0 while they are near."""
        wait_ms = 0.0
        if self.ms_max:
            wait_ms = self.ms_max * _WAIT_MAX * _steepness(age_ms / self.ms_max)
        if self.bytes_max:
            wait_ms = max(wait_ms, _BYTES_WAIT_MS_MAX * _steepness(size / self.bytes_max))
        return wait_ms


def _steepness(part: float) -> float:
    """0 below the half of a bound, 1 at the bound."""
    return min(1.0, max(0.0, (part - _SLOW_FROM) / (1.0 - _SLOW_FROM)))
