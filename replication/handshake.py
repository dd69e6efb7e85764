"""The follower's handshake: from a connection to an agreement on where to go on.

    HELLO          PING                                  <- +PONG
    CONFIGURING    AUTH, REPLCONF listening-port,
                   ip-address, capa                      <- +OK ... +OK frames 1
                   (REPLCONF frames, epoch, history)     <- +OK
    ASKING         PSYNC replid offset                   <- +CONTINUE | +FULLRESYNC | +FORK
                   SYNC, where PSYNC is not known        <- the snapshot

The problem: a leader may be of ours or a stock one, of any age, and what it answers may come
damaged; to go on from a position that is not that of our data would be silent loss. The idea: our
words are offered as capabilities that a stock leader passes over; a leader that takes them up says,
with its answer to PSYNC, its epoch and the history checksum where we begin, sealed by a checksum of
the line. That is compared with our own before anything is changed.

Invariants: `_replies_due` names the questions without an answer, oldest first, in CONFIGURING
alone; a leader whose epoch is behind ours is never followed; on a framed link an answer that cannot
be read is damage and ends the link, never a reason to do without frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from replication import actions as act
from replication.actions import LogLevel, command
from replication.checksum import crc32c
from replication.constants import FRAMES_VERSION, HANDSHAKE_LINE_BYTES_MAX, POSITION_MAX
from replication.follower_states import HANDSHAKE, FollowerState
from replication.forks import encode_lineage, read_fork
from replication.history import HistoryMark, is_replid

if TYPE_CHECKING:
    from replication.follower import Follower

_S = FollowerState
_GRANTED: Final = f"+OK frames {FRAMES_VERSION}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the leader's answer to PSYNC says of its history at the position where we begin."""

    epoch: int
    mark: HistoryMark


class Handshake:
    """What is said before data comes. A part of one follower machine."""

    __slots__ = ("_asked_sync", "_follower", "_line", "_replies_due", "offer")

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.offer: Offer | None = None
        """Of this link; None before the answer, and from a leader that sends no frames."""
        self._line = b""
        self._replies_due: deque[str] = deque()
        self._asked_sync = False

    def begin(self) -> None:
        """A connection stands. Nothing of the last one is left."""
        follower = self._follower
        self._line = b""
        self.offer = None
        self._asked_sync = False
        follower.become(_S.HELLO)
        follower.log(LogLevel.NOTICE, "MASTER <-> REPLICA sync started")
        follower.do(act.SendToLeader(command(b"PING")))

    def close(self) -> None:
        """The link is gone, and with it the questions."""
        self._replies_due.clear()

    def take(self, data: bytes, now_ms: int) -> bytes:
        """Takes bytes from the link, as long as the leader speaks in lines; what is behind them is
        returned."""
        follower = self._follower
        self._line += data
        while follower.state in HANDSHAKE:
            line, newline, rest = self._line.partition(b"\n")
            if not newline:
                if len(line) > HANDSHAKE_LINE_BYTES_MAX:
                    follower.fail("the leader's reply is too long", now_ms)
                return b""
            self._line = rest
            text = line.rstrip(b"\r").decode("latin-1")
            if text:
                self._take_line(text, now_ms)
        rest, self._line = self._line, b""
        return rest

    def _take_line(self, text: str, now_ms: int) -> None:
        state = self._follower.state
        if state is _S.HELLO:
            self._hello_line(text, now_ms)
        elif state is _S.CONFIGURING:
            self._configuring_line(text, now_ms)
        else:
            self._asking_line(text, now_ms)

    # HELLO, CONFIGURING

    def _hello_line(self, text: str, now_ms: int) -> None:
        follower = self._follower
        tolerated = ("-NOAUTH", "-NOPERM", "-ERR operation not permitted")
        if not text.startswith("+") and not text.startswith(tolerated):
            follower.fail(f"Error reply to PING from master: '{text}'", now_ms)
            return
        follower.log(LogLevel.NOTICE, "Master replied to PING, replication can continue...")
        settings = follower.settings
        sent = []
        if settings.password:
            credentials = [settings.user] if settings.user else []
            sent.append(command(b"AUTH", *credentials, settings.password))
            self._replies_due.append("AUTH")
        port = b"%d" % settings.listening_port
        sent.append(command(b"REPLCONF", b"listening-port", port))
        self._replies_due.append("listening-port")
        if settings.announce_ip:
            address = settings.announce_ip.encode()
            sent.append(command(b"REPLCONF", b"ip-address", address))
            self._replies_due.append("ip-address")
        capabilities = [b"capa", b"eof", b"capa", b"psync2"]
        if settings.frames_offered:
            capabilities += [b"capa", b"frames", b"capa", b"interleaved"]
        sent.append(command(b"REPLCONF", *capabilities))
        self._replies_due.append("capa")
        follower.become(_S.CONFIGURING)
        follower.do(act.SendToLeader(b"".join(sent)))

    def _configuring_line(self, text: str, now_ms: int) -> None:
        follower = self._follower
        asked = self._replies_due.popleft()
        if text.startswith("-") and asked != "frames":
            if asked == "AUTH":
                follower.fail(f"Unable to AUTH to MASTER: {text}", now_ms)
                return
            follower.log(
                LogLevel.NOTICE,
                f"(Non critical) Master does not understand REPLCONF {asked}: {text}",
            )
        elif asked == "capa" and follower.settings.frames_offered:
            if text in (_GRANTED, _GRANTED + " interleaved"):
                follower.interleaved = text != _GRANTED
                self._request_frames()
            elif text != "+OK":
                # Taking a damaged grant for a refusal would silently leave the link unchecked.
                follower.fail(f"unexpected reply to REPLCONF capa: {text}", now_ms)
                return
        elif asked == "frames":
            if text != "+OK":
                follower.fail(f"unexpected reply to REPLCONF frames: {text}", now_ms)
                return
            follower.framed = True
        if not self._replies_due:
            self.ask()

    def configure_again(self) -> None:
        """Says once more where our history ends: it is to be taken up from another place."""
        self._follower.become(_S.CONFIGURING)
        self._request_frames()

    def _request_frames(self) -> None:
        follower = self._follower
        pairs = [b"frames", b"%d" % FRAMES_VERSION, b"epoch", b"%d" % follower.history.epoch]
        if follower.settings.member_id:
            pairs += [b"member", follower.settings.member_id.encode()]
        if follower.resumable:
            rewind = follower.rewind
            prepared = rewind.fork is not None
            mark = rewind.mark if prepared else follower.backlog.mark
            pairs += [b"history", b"%016x" % mark.checksum, b"base", b"%d" % mark.base]
            lineage = follower.history.lineage(follower.backlog.end)
            pairs += [b"lineage", encode_lineage(lineage)]
            if prepared or rewind.active:
                pairs += [b"rewinding", b"1"]
        follower.do(act.SendToLeader(command(b"REPLCONF", *pairs)))
        self._replies_due.append("frames")

    # ASKING

    def ask(self) -> None:
        """Asks for what follows our position, or the fork; or for everything."""
        follower = self._follower
        follower.become(_S.ASKING)
        if self._asked_sync:
            follower.do(act.SendToLeader(command(b"SYNC")))
            return
        replid, wanted = "?", -1
        if follower.resumable:
            fork = follower.rewind.fork
            replid, wanted = follower.history.replid, follower.backlog.end + 1
            if fork is not None:
                replid, wanted = fork.replid, fork.position + 1
            follower.log(
                LogLevel.NOTICE,
                f"Trying a partial resynchronization (request {replid}:{wanted}).",
            )
        else:
            follower.log(
                LogLevel.NOTICE, "Partial resynchronization not possible (no cached master)"
            )
        words = [b"PSYNC", replid.encode(), b"%d" % wanted]
        if follower.handover:
            words.append(b"FAILOVER")
        follower.do(act.SendToLeader(command(*words)))

    def _asking_line(self, text: str, now_ms: int) -> None:
        if self._asked_sync:
            self._line = text.encode("latin-1") + b"\r\n" + self._line
            self._follower.load.begin("", -1, now_ms)
            return
        words = text.split(" ")
        if words[0] == "+FULLRESYNC":
            self._full_resync(words, now_ms)
        elif words[0] == "+CONTINUE":
            self._continue(words, now_ms)
        elif words[0] == "+FORK" and self._follower.framed:
            self._forked(words, now_ms)
        else:
            self._asked_in_vain(text, now_ms)

    def _asked_in_vain(self, text: str, now_ms: int) -> None:
        follower = self._follower
        if follower.handover:
            follower.fail(f"Failover target rejected psync request: {text}", now_ms)
        elif text.startswith(("-NOMASTERLINK", "-LOADING")):
            follower.fail(f"Master is currently unable to PSYNC but should be: {text}", now_ms)
        elif follower.framed:
            # One of ours knows PSYNC, so this is damage on the way.
            follower.fail(f"unexpected reply to PSYNC: {text}", now_ms)
        else:
            follower.log(
                LogLevel.NOTICE,
                f"Master does not support PSYNC or is in error state (reply: {text})",
            )
            self._asked_sync = True
            follower.do(act.SendToLeader(command(b"SYNC")))

    def _read_offer(self, words: list[str]) -> bool:
        """Reads `... FRAMES 1 epoch checksum base crc`, the last sealing the line before it; says
        whether the answer fits what was agreed."""
        self.offer = None
        if not self._follower.framed:
            return True
        line, _, seal = " ".join(words).rpartition(" ")
        offered = words[-6:-1]
        if len(offered) != 5 or offered[:2] != ["FRAMES", str(FRAMES_VERSION)]:
            return False
        if seal != f"{crc32c(line.encode('latin-1')):08x}":
            return False
        try:
            epoch, checksum, base = int(offered[2]), int(offered[3], 16), int(offered[4])
        except ValueError:
            return False
        if not (0 <= epoch <= POSITION_MAX and 0 <= checksum < 1 << 64 and base >= 0):
            return False
        self.offer = Offer(epoch, HistoryMark(checksum, base))
        return True

    def _epoch_is_behind(self, now_ms: int) -> bool:
        offer, ours = self.offer, self._follower.history.epoch
        if offer is None or offer.epoch >= ours:
            return False
        self._follower.fail(f"the leader's epoch {offer.epoch} is behind ours, {ours}", now_ms)
        return True

    def _unexpected(self, words: list[str], now_ms: int) -> None:
        self._follower.fail(f"unexpected reply to PSYNC: {' '.join(words)}", now_ms)

    def _full_resync(self, words: list[str], now_ms: int) -> None:
        follower = self._follower
        position = _offset(words[2]) if len(words) > 2 else None
        if position is None or not is_replid(words[1]) or not self._read_offer(words):
            self._unexpected(words, now_ms)
            return
        if follower.handover:
            follower.fail("Failover target wants a full synchronization", now_ms)
            return
        if self._epoch_is_behind(now_ms):
            return
        follower.log(LogLevel.NOTICE, f"Full resync from master: {words[1]}:{position}")
        follower.load.begin(words[1], position, now_ms)

    def _forked(self, words: list[str], now_ms: int) -> None:
        """The leader knows our history up to the fork. What is behind it is put aside first."""
        follower = self._follower
        fork, end = read_fork(words), follower.backlog.end
        sound = fork is not None and self._read_offer(words) and fork.position <= end
        again = follower.rewind.fork is not None
        if fork is None or not sound or not follower.resumable or again:
            self._unexpected(words, now_ms)
            return
        if not self._epoch_is_behind(now_ms):
            follower.rewind.prepare(fork)

    def _continue(self, words: list[str], now_ms: int) -> None:
        follower = self._follower
        history = follower.history
        replid = words[1] if len(words) > 1 else history.replid
        if not follower.resumable or not is_replid(replid) or not self._read_offer(words):
            self._unexpected(words, now_ms)
            return
        if self._epoch_is_behind(now_ms):
            return
        if follower.rewind.fork is not None:
            follower.rewind.go_back(follower.rewind.fork)
        end = follower.backlog.end
        if self.offer is not None and not self._adopt_mark(self.offer.mark, end, now_ms):
            return
        follower.log(LogLevel.NOTICE, "Successful partial resynchronization with master.")
        if replid != history.replid:
            follower.log(LogLevel.NOTICE, "Master replication ID changed to " + replid)
            history.shift(replid, end)
            follower.do(act.RecordHistory(), act.DropFollowers("the replication id has changed"))
        follower.stats.partial_syncs += 1
        follower.stream.begin(end, now_ms)
        if follower.handover:
            follower.handover = False
            follower.do(act.HandoverAnswered(True, ""))

    def _adopt_mark(self, mark: HistoryMark, end: int, now_ms: int) -> bool:
        """Compares histories where they can be compared, else takes over the leader's."""
        backlog = self._follower.backlog
        ours = backlog.mark
        if mark.base == ours.base:
            if mark.checksum == ours.checksum:
                return True
            self._follower.diverged(mark.checksum, ours.checksum, now_ms)
            return False
        had_bytes = len(backlog) > 0
        backlog.reset(end, mark)
        if had_bytes:
            self._follower.do(act.DropFollowers("the history checksum has a new base"))
        return True

    def invariants(self) -> None:
        """Raises `AssertionError` where the part contradicts the machine's state."""
        assert not self._replies_due or self._follower.state is _S.CONFIGURING


def _offset(text: str) -> int | None:
    if not text.isdigit() or len(text) > 19:
        return None
    return int(text) if int(text) <= POSITION_MAX else None


__all__ = ["Handshake", "Offer"]
