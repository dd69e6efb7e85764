"""WAIT: clients that wait until so many followers have acknowledged a position.

The problem: followers acknowledge once a second, and a client that waits should not wait for that.
The idea: a GETACK goes into the stream behind what is waited for, once for all who wait, and each
acknowledgement is looked at for everybody.

Invariant: a client is told once, or has given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replication import actions as act
from replication import events as ev

if TYPE_CHECKING:
    from replication.leader import Leader


@dataclass(slots=True)
class _Waiter:
    position: int
    count: int
    deadline_ms: int | None


class WaitList:
    """The clients that wait. A part of one leader machine."""

    __slots__ = ("_asked_position", "_leader", "_waiting", "getack_due")

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._waiting: dict[int, _Waiter] = {}
        self._asked_position = -1
        self.getack_due = False
        """Whether the stream is to ask followers how far they are, at the next pump."""

    def on_wait(self, event: ev.WaitStarted, now_ms: int) -> None:
        """A client waits for followers to have its writes."""
        leader = self._leader
        acked = leader.acked_count(event.position)
        if acked >= event.count:
            leader.do(act.WaitDone(event.waiter, acked))
            return
        self._waiting[event.waiter] = _Waiter(event.position, event.count, event.deadline_ms)
        if leader.backlog.active:
            self.getack_due = True
            leader.pump_wanted = True

    def on_cancelled(self, event: ev.WaitCancelled, now_ms: int) -> None:
        """It does not wait any more."""
        self._waiting.pop(event.waiter, None)

    def on_acks_wanted(self, event: ev.AcksWanted, now_ms: int) -> None:
        """Followers are to say how far they are. Asks once: an answer of one of ours covers the
        asking too."""
        leader = self._leader
        if leader.leading and leader.backlog.active and self._asked_position != leader.backlog.end:
            self.getack_due = True
            leader.pump(now_ms)
            self._asked_position = leader.backlog.end

    def _finish(self, waiter: int) -> None:
        leader = self._leader
        waiting = self._waiting.pop(waiter)
        leader.do(act.WaitDone(waiter, leader.acked_count(waiting.position)))

    def tick(self, now_ms: int) -> None:
        """Ends what has waited long enough."""
        for waiter, waiting in list(self._waiting.items()):
            if waiting.deadline_ms is not None and now_ms >= waiting.deadline_ms:
                self._finish(waiter)

    def acknowledged(self) -> None:
        """A follower has got further: tells those for whom that is enough."""
        for waiter, waiting in list(self._waiting.items()):
            if self._leader.acked_count(waiting.position) >= waiting.count:
                self._finish(waiter)

    def give_up(self) -> None:
        """This node leads no more; everybody is told what there is."""
        for waiter in list(self._waiting):
            self._finish(waiter)


__all__ = ["WaitList"]
