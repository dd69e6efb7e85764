"""Handover: a leader gives its place to a follower without losing a write (`FAILOVER`).

    no-failover --> waiting-for-sync --> failover-in-progress --> no-failover
         ^                 |  (abort, or time is up without FORCE)
         +-----------------+

1. Writes are paused, so the stream's end stands still (no PING either).
2. A follower acknowledges the end: it has everything. A GETACK ends the stream, so that one of
   ours answers at once (after it has applied the GETACK too) and a stock one by its clock.
3. We follow it with `PSYNC <replid> <offset> FAILOVER`; it promotes itself and answers CONTINUE.
4. Writes resume here, where clients now learn that this node is read-only.

If the target refuses, we take the lead back. With FORCE, running out of time in step 2 goes to
step 3 anyway, and what the target has not read is lost; without, it goes back to the start.
"""

import enum
from dataclasses import dataclass
from typing import Final


class HandoverState(enum.Enum):
    """Values are the words of `master_failover_state` in INFO."""

    IDLE = "no-failover"
    DRAINING = "waiting-for-sync"
    ASKING = "failover-in-progress"


HANDOVER_EDGES: Final[dict[HandoverState, frozenset[HandoverState]]] = {
    HandoverState.IDLE: frozenset({HandoverState.DRAINING}),
    HandoverState.DRAINING: frozenset({HandoverState.IDLE, HandoverState.ASKING}),
    HandoverState.ASKING: frozenset({HandoverState.IDLE}),
}


@dataclass(slots=True)
class Handover:
    """One `FAILOVER`: whom it is for and until when."""

    state: HandoverState = HandoverState.IDLE
    target: tuple[str, int] | None = None
    force: bool = False
    deadline_ms: int | None = None
    end_position: int = 0
    """The stream's end, GETACK included."""

    def become(self, state: HandoverState) -> None:
        """Takes an edge of the table; any other raises `AssertionError`."""
        assert state in HANDOVER_EDGES[self.state], f"{self.state} -> {state}"
        self.state = state

    def clear(self) -> None:
        """Back to the beginning."""
        self.become(HandoverState.IDLE)
        self.target = None
        self.force = False
        self.deadline_ms = None
