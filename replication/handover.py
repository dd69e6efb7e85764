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

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from replication import actions as act
from replication import events as ev
from replication.actions import LogLevel
from replication.progress import Progress

if TYPE_CHECKING:
    from replication.leader import Leader

STREAM_GETACK: Final = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"


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


class Handover:
    """One `FAILOVER`: whom it is for and until when. A part of one leader machine."""

    __slots__ = ("_leader", "deadline_ms", "end_position", "force", "state", "target")

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self.state = HandoverState.IDLE
        self.target: tuple[str, int] | None = None
        self.force = False
        self.deadline_ms: int | None = None
        self.end_position = 0
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

    def refusal(self, event: ev.FailoverRequested) -> str | None:
        """Redis's error text for a `FAILOVER` that cannot begin, or None."""
        if self.state is not HandoverState.IDLE:
            return "FAILOVER already in progress."
        if not self._leader.leading:
            return "FAILOVER is not valid when server is a replica."
        if not self._leader.attached:
            return "FAILOVER requires connected replicas."
        if event.force and (event.target is None or event.timeout_ms is None):
            return "FAILOVER with force option requires both a timeout and target HOST and IP."
        if event.target is not None:
            found = self._find(event.target)
            if found is None:
                return "FAILOVER target HOST and PORT is not a replica."
            if not found.online:
                return "FAILOVER target replica is not online."
        return None

    def on_requested(self, event: ev.FailoverRequested, now_ms: int) -> None:
        """FAILOVER begins. It was asked before whether it may (`refusal`)."""
        assert self.refusal(event) is None
        self.become(HandoverState.DRAINING)
        self.target = event.target
        self.force = event.force
        if event.timeout_ms is not None:
            self.deadline_ms = now_ms + event.timeout_ms
        to = "" if event.target is None else f" to {event.target[0]}:{event.target[1]}"
        self._leader.log(LogLevel.NOTICE, f"FAILOVER requested{to}.")
        self._leader.do(act.PauseWrites())
        self._leader.append(STREAM_GETACK, now_ms)
        self.end_position = self._leader.backlog.end

    def on_aborted(self, event: ev.FailoverAborted, now_ms: int) -> None:
        """FAILOVER ABORT."""
        if self.state is not HandoverState.IDLE:
            self._abort("Failover manually aborted")

    def give_if_drained(self) -> None:
        """Step 2: hands over to whoever has everything."""
        if self.state is not HandoverState.DRAINING:
            return
        for progress in self._leader.attached:
            if self.target is not None and not _is_at(progress, self.target):
                continue
            if progress.online and progress.acked_position == self.end_position:
                host, port = progress.host, progress.listening_port
                self._leader.log(
                    LogLevel.NOTICE, f"Failover target {host}:{port} is synced, failing over."
                )
                self.give(host, port)
                return

    def give(self, host: str, port: int) -> None:
        """Step 3: the target is to lead, and we follow it."""
        self.become(HandoverState.ASKING)
        self.deadline_ms = None
        self._leader.do(act.HandOver(host, port))

    def tick(self, now_ms: int) -> None:
        """Acts where time is up."""
        if self.state is not HandoverState.DRAINING:
            return
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return
        if self.force:
            assert self.target is not None
            host, port = self.target
            self._leader.log(
                LogLevel.NOTICE,
                f"Failover to {host}:{port} time out exceeded, failing over.",
            )
            self.give(host, port)
        else:
            self._abort("Replica never caught up before timeout")

    def _abort(self, reason: str) -> None:
        was_asking = self.state is HandoverState.ASKING
        self._leader.log(LogLevel.NOTICE, f"Aborting failover: {reason}")
        self.clear()
        if was_asking:
            self._leader.do(act.TakeBack())
        self._leader.do(act.ResumeWrites())

    def on_ended(self, event: ev.HandoverEnded, now_ms: int) -> None:
        """The target has answered, or its link has broken."""
        if self.state is not HandoverState.ASKING:
            return
        if event.accepted:
            self.clear()
            self._leader.do(act.ResumeWrites())
        else:
            self._abort(event.reason)

    def _find(self, target: tuple[str, int]) -> Progress | None:
        return next((p for p in self._leader.attached if _is_at(p, target)), None)


def _is_at(progress: Progress, target: tuple[str, int]) -> bool:
    host, port = target
    return host in (progress.host, progress.address) and port == progress.listening_port
