"""Is a node down? Subjectively (for one sentinel), objectively (for a quorum), and when not to
trust the answer.

Subjectively down: no valid answer to PING for `down-after-milliseconds`; or a leader that reports
to be a follower for that long and two INFO periods more; or a leader that restarted and does not
answer PONG within `master-reboot-down-after-period`. Valid answers are PONG, -LOADING and
-MASTERDOWN: the process lives.

Objectively down: this sentinel and enough others, `quorum` in all, say subjectively down.

TILT: if the time between two ticks is negative or longer than `tilt_trigger_ms`, this process was
stopped or its clock jumped, and everything would look as if it had timed out. For `tilt_period_ms`
the sentinel then goes on to listen and does not act.
"""

from __future__ import annotations

from dataclasses import dataclass

from replication.failover.cluster_view import Timings
from replication.failover.events import RespValue, WireError


class Heartbeat:
    """PINGs and their answers over one command link (the three ages that Sentinel reports)."""

    __slots__ = ("last_ok_ms", "last_ping_ms", "last_reply_ms", "waiting_since_ms")

    def __init__(self, now_ms: float) -> None:
        # A node just heard of counts as asked now: it has down-after milliseconds to answer.
        self.waiting_since_ms: float | None = now_ms
        self.last_ping_ms = now_ms - 1e9
        self.last_ok_ms = now_ms
        self.last_reply_ms = now_ms

    def due(self, period_ms: float, now_ms: float) -> bool:
        """Whether a PING should be sent: the last answer is a period old, the last PING half of
        one.
        """
        return (
            now_ms - self.last_reply_ms >= period_ms and now_ms - self.last_ping_ms >= period_ms / 2
        )

    def sent(self, now_ms: float) -> None:
        """A PING went out."""
        self.last_ping_ms = now_ms
        if self.waiting_since_ms is None:
            self.waiting_since_ms = now_ms

    def answered(self, reply: RespValue, now_ms: float) -> bool:
        """An answer came; True if it is a valid one."""
        self.last_reply_ms = now_ms
        if isinstance(reply, WireError):
            valid = reply.text.startswith(("LOADING", "MASTERDOWN"))
        else:
            valid = isinstance(reply, bytes) and reply.upper().startswith(b"PONG")
        if valid:
            self.last_ok_ms = now_ms
            self.waiting_since_ms = None
        return valid

    def silent_ms(self, connected: bool, now_ms: float) -> float:
        """For how long the node has owed us a valid answer; 0 while it owes none."""
        if self.waiting_since_ms is not None:
            return now_ms - self.waiting_since_ms
        return 0.0 if connected else now_ms - self.last_ok_ms


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of one node when it is judged; None where the thing does not apply."""

    silent_ms: float
    wrong_role_ms: float | None
    reboot_ms: float | None


def subjectively_down(
    signs: Signs, down_after_ms: int, info_period_ms: int, reboot_down_after_ms: int
) -> bool:
    """Sentinel's S_DOWN."""
    if signs.silent_ms > down_after_ms:
        return True
    wrong_role_ms_max = down_after_ms + 2 * info_period_ms
    if signs.wrong_role_ms is not None and signs.wrong_role_ms > wrong_role_ms_max:
        return True
    return signs.reboot_ms is not None and signs.reboot_ms > reboot_down_after_ms


class ClockDoubt:
    """TILT for the whole sentinel."""

    __slots__ = ("_previous_ms", "since_ms")

    def __init__(self) -> None:
        self._previous_ms: float | None = None
        self.since_ms: float | None = None

    @property
    def active(self) -> bool:
        """Whether to listen only."""
        return self.since_ms is not None

    def tick(self, timings: Timings, now_ms: float) -> str:
        """Returns "+tilt" or "-tilt" when the doubt begins (again) or ends, else ""."""
        previous, self._previous_ms = self._previous_ms, now_ms
        if previous is not None and not 0 <= now_ms - previous <= timings.tilt_trigger_ms:
            self.since_ms = now_ms
            return "+tilt"
        if self.since_ms is not None and now_ms - self.since_ms >= timings.tilt_period_ms:
            self.since_ms = None
            return "-tilt"
        return ""
