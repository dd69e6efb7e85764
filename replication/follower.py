"""The following side of replication: find the leader, agree where to go on, apply what is verified.

    IDLE --follow--> WAITING --> DIALLING --> HELLO --> CONFIGURING --> ASKING
                       ^                                               |      |
                       |                                      CONTINUE |      | FULLRESYNC
                       |                                               v      v
                       +---- any failure, from any state ---------- STREAM <- COMMITTING <- LOADING

- HELLO: `PING`. CONFIGURING: `AUTH`, `REPLCONF`s, and if the leader knows frames, our epoch and
  history checksum. ASKING: `PSYNC` (or `SYNC`, for a leader that does not know PSYNC).
- PREPARING: the leader has named the fork behind which our history is ours alone; that part is
  being put aside, then we ask for what follows the fork (`rewind.py`).
- LOADING: a snapshot arrives beside the data that is still served. COMMITTING: it is complete and
  takes the old data's place, or is refused. STREAM: bytes are verified, applied, relayed.
- While the stream is paused (`stream_pause.py`) it is verified and held in the same way.
- A leader of ours sends the stream meanwhile too (`sync_intake.py`): it is held, and applied piece
  by piece in STREAM, in turns of their own, before what comes then.

What is verified is not yet applied: the shell executes whole commands and tells how far it got
(`StreamApplied`). Only then do the bytes enter our backlog, as the leader sealed them, and count
in our position; so wherever this node is cut, promoted or asked to resume, its position is that of
its data. A frame of which only a part was applied when the link broke is cut there.

A damaged frame is refused and counted, and the damaged range alone is asked for again on the same
link (`intake.py`). If it does not come, the link is dropped and dialled again at once: the leader
continues from our position, without a full sync. Frames that are sound but do not fit our history
checksum mean that the two of us have diverged: then only a full sync helps.

Invariants: `backlog.end <= position <= received`; what lies between is `_pending`; outside STREAM
nothing is pending.
"""

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from replication import actions as act
from replication import events as ev
from replication.actions import Action, Log, LogLevel
from replication.backlog import Backlog
from replication.checksum import crc32c
from replication.constants import (
    ACK_INTERVAL_MS,
    FRAMES_VERSION,
    HANDSHAKE_LINE_BYTES_MAX,
    KEEPALIVE_INTERVAL_MS,
    POSITION_MAX,
    RECONNECT_INTERVAL_MS,
    RECONNECT_JITTER_MS,
    STREAM_HELD_BYTES_MAX,
    SYNC_HELD_MEMORY_BYTES,
)
from replication.forks import encode_lineage, read_fork
from replication.frames import Frame, FrameError, FrameKind, FrameReader, reseal_head
from replication.frames import parse as parse_frame
from replication.full_sync import SnapshotError, SnapshotReceiver
from replication.held_log import HeldLog, Overflow
from replication.history import History, HistoryMark, is_replid
from replication.intake import HistoryMismatchError, StreamIntake
from replication.questions import ComparedSide
from replication.rewind import RewindSide
from replication.settings import FollowerSettings
from replication.stream_pause import StreamPause
from replication.sync_intake import SyncIntake, held_frames, hold


class FollowerState(enum.Enum):
    """Where the link to the leader is."""

    IDLE = "idle"
    WAITING = "waiting"
    DIALLING = "dialling"
    HELLO = "hello"
    CONFIGURING = "configuring"
    ASKING = "asking"
    PREPARING = "preparing"
    LOADING = "loading"
    COMMITTING = "committing"
    STREAM = "stream"


_S = FollowerState
_FAILURE: Final = frozenset({_S.WAITING, _S.IDLE})

FOLLOWER_EDGES: Final[dict[FollowerState, frozenset[FollowerState]]] = {
    _S.IDLE: frozenset({_S.WAITING}),
    _S.WAITING: frozenset({_S.DIALLING, _S.IDLE}),
    _S.DIALLING: frozenset({_S.HELLO}) | _FAILURE,
    _S.HELLO: frozenset({_S.CONFIGURING}) | _FAILURE,
    _S.CONFIGURING: frozenset({_S.ASKING}) | _FAILURE,
    _S.ASKING: frozenset({_S.STREAM, _S.LOADING, _S.PREPARING}) | _FAILURE,
    _S.PREPARING: frozenset({_S.CONFIGURING, _S.ASKING}) | _FAILURE,
    _S.LOADING: frozenset({_S.COMMITTING}) | _FAILURE,
    _S.COMMITTING: frozenset({_S.STREAM}) | _FAILURE,
    _S.STREAM: _FAILURE,
}

ROLE_WORDS: Final = {
    _S.IDLE: "none",
    _S.WAITING: "connect",
    _S.DIALLING: "connecting",
    _S.HELLO: "handshake",
    _S.CONFIGURING: "handshake",
    _S.ASKING: "handshake",
    _S.PREPARING: "handshake",
    _S.LOADING: "sync",
    _S.COMMITTING: "sync",
    _S.STREAM: "connected",
}
"""The states in ROLE's reply."""

_HANDSHAKE: Final = frozenset({_S.HELLO, _S.CONFIGURING, _S.ASKING})
_SYNCING: Final = frozenset({_S.LOADING, _S.COMMITTING})
_LINKED: Final = _HANDSHAKE | _SYNCING | {_S.STREAM, _S.PREPARING}
_AT_WORK: Final = frozenset({_S.COMMITTING, _S.PREPARING})


@dataclass(slots=True)
class FollowerStats:
    """Counters for INFO. They only rise."""

    frames_rejected: int = 0
    frames_repaired: int = 0
    """Damaged frames that were asked for again on the link, and came."""
    bytes_repaired: int = 0
    snapshots_rejected: int = 0
    histories_diverged: int = 0
    full_syncs: int = 0
    partial_syncs: int = 0
    rewinds: int = 0


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the leader's answer to PSYNC says of its history at the position where we begin."""

    epoch: int
    mark: HistoryMark


@dataclass(slots=True)
class Follower:
    """The machine. It shares `history` and `backlog` with the node's `Leader` machine."""

    history: History
    backlog: Backlog
    settings: FollowerSettings
    new_overflow: Callable[[], Overflow | None] = lambda: None
    """A place for what is held of the stream during a full sync and is not to be in memory."""
    resumable: bool = False
    """Whether history and backlog describe the data set, so that PSYNC may ask to go on."""
    wall_offset_ms: int = 0
    host: str = ""
    port: int = 0
    state: FollowerState = FollowerState.IDLE
    stats: FollowerStats = field(default_factory=FollowerStats)
    framed: bool = False
    """Whether this link carries frames."""
    interleaved: bool = False
    """Whether the stream comes between the chunks of a snapshot."""
    heard_ms: int = 0
    down_since_ms: int | None = None
    lag_ms: int = 0
    """The age of what was applied last, when it was applied, by the leader's timestamp."""
    leader_timestamp_ms: int = 0
    """When the leader wrote what was last applied, by its clock."""
    snapshot: SnapshotReceiver | SyncIntake | None = None
    held: HeldLog | None = None
    """What came of the stream with the snapshot and has yet to be applied, in STREAM."""
    _handed: int = 0
    _lost: str = ""
    """Why the link ended before what is held was applied."""
    rewind: RewindSide = field(default_factory=RewindSide)
    pause: StreamPause = field(default_factory=StreamPause)
    _position: int = 0
    _received: int = 0
    _pending: deque[Frame] = field(default_factory=deque)
    _pending_raw: bytearray = field(default_factory=bytearray)
    _actions: list[Action] = field(default_factory=list)
    _line: bytes = b""
    _replies_due: deque[str] = field(default_factory=deque)
    _reader: FrameReader | None = None
    _intake: StreamIntake | None = None
    _compared: ComparedSide = field(default_factory=ComparedSide)
    _applying: int = 0
    """Parts of the stream that were handed out and not yet reported as applied."""
    _offer: _Offer | None = None
    _new_replid: str = ""
    _new_position: int = 0
    _handover: bool = False
    _asked_sync: bool = False
    _held: bytes = b""
    _retry_ms: int = 0
    _failures: int = 0
    _rejected_position: int = -1
    _acked_ms: int = 0
    _ack_due: bool = False
    _kept_alive_ms: int = 0
    _room_told: bool = True

    # driving

    def receive(self, event: ev.Event, now_ms: int) -> None:
        """Takes one event. Raises `KeyError` for an event that is not this machine's."""
        _HANDLERS[type(event)](self, event, now_ms)

    def tick(self, now_ms: int) -> None:
        """Does what is due by the clock. Ten times a second is often enough."""
        state = self.state
        if state is _S.WAITING:
            if now_ms >= self._retry_ms:
                self._dial(now_ms)
            return
        if state is _S.IDLE:
            return
        silent = now_ms - self.heard_ms > self.settings.timeout_ms
        if silent and state not in _AT_WORK and self.pause.reading:
            self._fail(_TIMEOUT_TEXTS.get(state, _TIMEOUT_TEXTS[_S.HELLO]), now_ms)
        elif state is _S.STREAM:
            if now_ms - self._acked_ms >= ACK_INTERVAL_MS:
                self._ack(self.position, now_ms)
            if self._intake is not None and self._intake.missing:
                self._ask_again(self._intake, now_ms, by_clock=True)
                self._refuse_if_due(now_ms)
            again = self.rewind.ask_again(now_ms)
            if again is not None:
                self._do(act.SendToLeader(_command(b"REPLCONF", b"VALUES", again)))
        elif state in _SYNCING:
            self._tick_sync(now_ms)

    def take_actions(self) -> list[Action]:
        """Hands over what is to be done, in order, and forgets it."""
        taken = self._actions
        self._actions = []
        return taken

    # what others ask

    @property
    def following(self) -> bool:
        """Whether this node has a leader at all."""
        return self.state is not _S.IDLE

    @property
    def connected(self) -> bool:
        """`master_link_status`: the stream is flowing, and the data is that of one position."""
        return self.state is _S.STREAM and not self.rewind.active

    @property
    def syncing(self) -> bool:
        """`master_sync_in_progress`: a snapshot is being received."""
        return self.state in _SYNCING

    @property
    def position(self) -> int:
        """How much of the stream is in the data set."""
        return self._position if self.state is _S.STREAM else self.backlog.end

    @property
    def received_position(self) -> int:
        """How much of the stream has come and been verified."""
        return self._received if self.state is _S.STREAM else self.backlog.end

    @property
    def loading_position(self) -> int:
        """The position of the snapshot that is being received."""
        return max(self._new_position, 0)

    @property
    def loading_replid(self) -> str:
        """The history of the snapshot that is being received; "" if the leader names none."""
        return self._new_replid

    # following and not

    def _on_follow(self, event: ev.FollowRequested, now_ms: int) -> None:
        if self.state is not _S.IDLE:
            self._close("following another leader")
            self._become(_S.IDLE)
        self.host, self.port, self._handover = event.host, event.port, event.handover
        self._rejected_position = -1
        self._asked_sync = False
        self.down_since_ms = now_ms
        self._become(_S.WAITING)
        self._log(LogLevel.NOTICE, f"Connecting to MASTER {self.host}:{self.port}")
        self._dial(now_ms)

    def _on_unfollow(self, event: ev.UnfollowRequested, now_ms: int) -> None:
        if self.state is not _S.IDLE:
            self._close("no longer following")
            self._become(_S.IDLE)
        self._handover = False

    def _dial(self, now_ms: int) -> None:
        self._become(_S.DIALLING)
        self.heard_ms = now_ms
        self._do(act.Dial(self.host, self.port))

    def _on_connected(self, event: ev.LeaderConnected, now_ms: int) -> None:
        if self.state is not _S.DIALLING:
            return
        self.heard_ms = now_ms
        self._line = b""
        self.framed = self.interleaved = False
        self._offer = None
        self._asked_sync = False
        self._reader = None
        self._become(_S.HELLO)
        self._log(LogLevel.NOTICE, "MASTER <-> REPLICA sync started")
        self._do(act.SendToLeader(_command(b"PING")))

    def _on_unreachable(self, event: ev.LeaderUnreachable, now_ms: int) -> None:
        if self.state is _S.DIALLING:
            self._fail(f"Error condition on socket for SYNC: {event.reason}", now_ms)

    def _on_link_closed(self, event: ev.LeaderLinkClosed, now_ms: int) -> None:
        if self.state not in _LINKED:
            return
        reason = f"the connection was lost {event.reason}".rstrip()
        if self.state is _S.STREAM:
            self._log(LogLevel.NOTICE, "Connection with master lost.")
            if self.held is not None and not self.pause.holds:
                # What came with the snapshot would have to come again, and the snapshot with it.
                self._lost = reason
                return
        self._fail(reason, now_ms)

    def _fail(self, reason: str, now_ms: int, *, at_once: bool = False) -> None:
        """Drops the link, keeps what was applied, and tries again."""
        if self._handover:  # the leader machine says why it ends
            self._handover = False
            self._do(act.HandoverAnswered(False, reason))
        else:
            self._log(LogLevel.WARNING, f"MASTER <-> REPLICA link: {reason}")
        if self.state is _S.STREAM:
            self.down_since_ms = now_ms
        self._close(reason)
        self._become(_S.WAITING)
        self._retry_ms = now_ms if at_once else now_ms + RECONNECT_INTERVAL_MS - self._jitter_ms()

    def _jitter_ms(self) -> int:
        """Followers that lost their leader together do not come back together: each by its place
        and its history has another moment, and another one every time."""
        self._failures += 1
        seed = b"%d %d %d" % (self.settings.listening_port, self._failures, self.backlog.end)
        return crc32c(seed) % RECONNECT_JITTER_MS

    def _close(self, reason: str) -> None:
        """Ends the link in whatever state it is, so that nothing is pending."""
        if self.state in _LINKED or self.state is _S.DIALLING:
            self._do(act.CloseLeaderLink(reason))
        if self.state in _SYNCING:
            at = 0 if self.snapshot is None else self.snapshot.received_bytes
            self._log(LogLevel.WARNING, f"Internal error in RDB reading offset {at}: {reason}")
            self._do(act.LoadAbort(reason))
        if self.state is _S.STREAM:
            self._cut_pending()
            self._do(act.StreamReset())
        self.snapshot = None
        if self.held is not None:
            self.held.clear()
            self.held = None
        self.pause.reset()
        self._lost = ""
        self._reader = None
        self._intake = None
        self._applying = 0
        self._compared.reset()
        self.rewind.reset()
        self._held = b""
        self._replies_due.clear()

    def _become(self, state: FollowerState) -> None:
        assert state in FOLLOWER_EDGES[self.state], f"{self.state} -> {state}"
        self.state = state

    # handshake

    def _on_bytes(self, event: ev.LeaderBytes, now_ms: int) -> None:
        self.heard_ms = now_ms
        if self.state is _S.STREAM:
            self._take_stream(event.data, now_ms)
        elif self.state in _HANDSHAKE:
            self._take_lines(event.data, now_ms)
        elif self.state is _S.LOADING:
            self._take_snapshot(event.data, now_ms)
        elif self.state is _S.COMMITTING:
            self._take_behind(event.data, now_ms)
        elif self.state is _S.PREPARING:
            self._fail("the leader spoke out of turn", now_ms)

    def _take_lines(self, data: bytes, now_ms: int) -> None:
        self._line += data
        while self.state in _HANDSHAKE:
            line, newline, rest = self._line.partition(b"\n")
            if not newline:
                if len(line) > HANDSHAKE_LINE_BYTES_MAX:
                    self._fail("the leader's reply is too long", now_ms)
                return
            self._line = rest
            text = line.rstrip(b"\r").decode("latin-1")
            if text:
                _LINE_HANDLERS[self.state](self, text, now_ms)
        rest, self._line = self._line, b""
        if rest:
            self._on_bytes(ev.LeaderBytes(rest), now_ms)

    def _hello_line(self, text: str, now_ms: int) -> None:
        tolerated = ("-NOAUTH", "-NOPERM", "-ERR operation not permitted")
        if not text.startswith("+") and not text.startswith(tolerated):
            self._fail(f"Error reply to PING from master: '{text}'", now_ms)
            return
        self._log(LogLevel.NOTICE, "Master replied to PING, replication can continue...")
        settings = self.settings
        sent = []
        if settings.password:
            credentials = [settings.user] if settings.user else []
            sent.append(_command(b"AUTH", *credentials, settings.password))
            self._replies_due.append("AUTH")
        port = b"%d" % settings.listening_port
        sent.append(_command(b"REPLCONF", b"listening-port", port))
        self._replies_due.append("listening-port")
        if settings.announce_ip:
            address = settings.announce_ip.encode()
            sent.append(_command(b"REPLCONF", b"ip-address", address))
            self._replies_due.append("ip-address")
        capabilities = [b"capa", b"eof", b"capa", b"psync2"]
        if settings.frames_offered:
            capabilities += [b"capa", b"frames", b"capa", b"interleaved"]
        sent.append(_command(b"REPLCONF", *capabilities))
        self._replies_due.append("capa")
        self._become(_S.CONFIGURING)
        self._do(act.SendToLeader(b"".join(sent)))

    def _configuring_line(self, text: str, now_ms: int) -> None:
        asked = self._replies_due.popleft()
        if text.startswith("-") and asked != "frames":
            if asked == "AUTH":
                self._fail(f"Unable to AUTH to MASTER: {text}", now_ms)
                return
            self._log(
                LogLevel.NOTICE,
                f"(Non critical) Master does not understand REPLCONF {asked}: {text}",
            )
        elif asked == "capa" and self.settings.frames_offered:
            if text in (_GRANTED, _GRANTED + " interleaved"):
                self.interleaved = text != _GRANTED
                self._do(act.SendToLeader(self._frames_request()))
                self._replies_due.append("frames")
            elif text != "+OK":
                # Taking a damaged grant for a refusal would silently leave the link unchecked.
                self._fail(f"unexpected reply to REPLCONF capa: {text}", now_ms)
                return
        elif asked == "frames":
            if text != "+OK":
                self._fail(f"unexpected reply to REPLCONF frames: {text}", now_ms)
                return
            self.framed = True
        if not self._replies_due:
            self._ask()

    def _frames_request(self) -> bytes:
        pairs = [b"frames", b"%d" % FRAMES_VERSION, b"epoch", b"%d" % self.history.epoch]
        if self.settings.member_id:
            pairs += [b"member", self.settings.member_id.encode()]
        if self.resumable:
            prepared = self.rewind.fork is not None
            mark = self.rewind.mark if prepared else self.backlog.mark
            pairs += [b"history", b"%016x" % mark.checksum, b"base", b"%d" % mark.base]
            pairs += [b"lineage", encode_lineage(self.history.lineage(self.backlog.end))]
            if prepared or self.rewind.active:
                pairs += [b"rewinding", b"1"]
        return _command(b"REPLCONF", *pairs)

    def _ask(self) -> None:
        self._become(_S.ASKING)
        if self._asked_sync:
            self._do(act.SendToLeader(_command(b"SYNC")))
            return
        replid, wanted = "?", -1
        if self.resumable:
            replid, wanted = self.history.replid, self.backlog.end + 1
            if self.rewind.fork is not None:
                replid, wanted = self.rewind.fork.replid, self.rewind.fork.position + 1
            self._log(
                LogLevel.NOTICE,
                f"Trying a partial resynchronization (request {replid}:{wanted}).",
            )
        else:
            self._log(LogLevel.NOTICE, "Partial resynchronization not possible (no cached master)")
        words = [b"PSYNC", replid.encode(), b"%d" % wanted]
        if self._handover:
            words.append(b"FAILOVER")
        self._do(act.SendToLeader(_command(*words)))

    def _asking_line(self, text: str, now_ms: int) -> None:
        if self._asked_sync:
            self._line = text.encode("latin-1") + b"\r\n" + self._line
            self._begin_loading("", -1, now_ms)
            return
        words = text.split(" ")
        if words[0] == "+FULLRESYNC":
            self._full_resync(words, now_ms)
        elif words[0] == "+CONTINUE":
            self._continue(words, now_ms)
        elif words[0] == "+FORK" and self.framed:
            self._forked(words, now_ms)
        else:
            self._asked_in_vain(text, now_ms)

    def _asked_in_vain(self, text: str, now_ms: int) -> None:
        if self._handover:
            self._fail(f"Failover target rejected psync request: {text}", now_ms)
        elif text.startswith(("-NOMASTERLINK", "-LOADING")):
            self._fail(f"Master is currently unable to PSYNC but should be: {text}", now_ms)
        elif self.framed:
            # One of ours knows PSYNC, so this is damage on the way.
            self._fail(f"unexpected reply to PSYNC: {text}", now_ms)
        else:
            self._log(
                LogLevel.NOTICE,
                f"Master does not support PSYNC or is in error state (reply: {text})",
            )
            self._asked_sync = True
            self._do(act.SendToLeader(_command(b"SYNC")))

    def _read_offer(self, words: list[str]) -> bool:
        """Reads `... FRAMES 1 epoch checksum base crc`, the last sealing the line before it; says
        whether the answer fits what was agreed."""
        self._offer = None
        if not self.framed:
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
        self._offer = _Offer(epoch, HistoryMark(checksum, base))
        return True

    def _epoch_is_behind(self, now_ms: int) -> bool:
        offer = self._offer
        if offer is None or offer.epoch >= self.history.epoch:
            return False
        self._fail(f"the leader's epoch {offer.epoch} is behind ours, {self.history.epoch}", now_ms)
        return True

    # resume

    def _continue(self, words: list[str], now_ms: int) -> None:
        replid = words[1] if len(words) > 1 else self.history.replid
        if not self.resumable or not is_replid(replid) or not self._read_offer(words):
            self._fail(f"unexpected reply to PSYNC: {' '.join(words)}", now_ms)
            return
        if self._epoch_is_behind(now_ms):
            return
        if self.rewind.fork is not None:
            self._go_back(self.rewind.fork)
        end = self.backlog.end
        if self._offer is not None and not self._adopt_mark(self._offer.mark, end, now_ms):
            return
        self._log(LogLevel.NOTICE, "Successful partial resynchronization with master.")
        if replid != self.history.replid:
            self._log(LogLevel.NOTICE, "Master replication ID changed to " + replid)
            self.history.shift(replid, end)
            self._do(act.RecordHistory(), act.DropFollowers("the replication id has changed"))
        self.stats.partial_syncs += 1
        self._enter_stream(end, now_ms)
        if self._handover:
            self._handover = False
            self._do(act.HandoverAnswered(True, ""))

    # rewind

    def _forked(self, words: list[str], now_ms: int) -> None:
        """The leader knows our history up to the fork. What is behind it is put aside first."""
        fork = read_fork(words)
        sound = fork is not None and self._read_offer(words) and fork.position <= self.backlog.end
        if fork is None or not sound or not self.resumable or self.rewind.fork is not None:
            self._fail(f"unexpected reply to PSYNC: {' '.join(words)}", now_ms)
            return
        if self._epoch_is_behind(now_ms):
            return
        self._log(
            LogLevel.WARNING,
            f"The master's history leaves ours at offset {fork.position}, and ours ends at"
            f" {self.backlog.end}: what is between is put aside",
        )
        self.rewind.fork = fork
        self._become(_S.PREPARING)
        self._do(act.PrepareRewind(fork, f"{self.host}:{self.port}"))

    def _on_prepared(self, event: ev.RewindPrepared, now_ms: int) -> None:
        fork, offer = self.rewind.fork, self._offer
        if self.state is not _S.PREPARING or fork is None:
            return
        if event.failure:
            self._fail(event.failure, now_ms)
            return
        refusal, mark = event.refusal, event.mark
        if fork.how == act.GONE:
            refusal = refusal or f"the master's backlog does not go back to {fork.position}"
        elif self.history.epoch == 0 and fork.replid != self.history.replid:
            # Who was made independent by hand and is sent back is rebuilt, as with redis-server.
            refusal = refusal or "it was made a master by hand, and this one never followed it"
        elif mark is None:
            refusal = refusal or "our own history checksum there is not known"
        elif offer is not None and mark.base == offer.mark.base and mark != offer.mark:
            self.stats.histories_diverged += 1
            refusal = refusal or "the history checksums differ there"
        self.heard_ms = now_ms
        if refusal or mark is None:
            self._log(LogLevel.WARNING, f"A full synchronization is needed: {refusal}")
            self.rewind.fork, self.resumable = None, False
            self._ask()
            return
        self.rewind.mark = mark
        self._become(_S.CONFIGURING)
        self._replies_due.append("frames")
        self._do(act.SendToLeader(self._frames_request()))

    def _go_back(self, fork: act.Fork) -> None:
        """The leader goes on from the fork, so our history ends there now."""
        self._do(act.BeginRewind(fork.position))
        self._do(act.DropFollowers("the history went back to where the master's left it"))
        try:
            self.backlog.rewind(fork.position, self.rewind.mark)
        except FrameError:
            self.backlog.reset(fork.position, self.rewind.mark)
        self.history.go_back(fork.replid, fork.position)
        self.rewind.fork, self.rewind.active = None, True
        self.stats.rewinds += 1

    def _on_wanted(self, event: ev.KeysWanted, now_ms: int) -> None:
        if self.state is _S.STREAM and self.rewind.active:
            request = self.rewind.ask(event.keys, now_ms)
            self._do(act.SendToLeader(_command(b"REPLCONF", b"VALUES", request)))

    def _on_rewound(self, event: ev.RewindEnded, now_ms: int) -> None:
        self.rewind.active = False
        self.rewind.reset()
        if self.state is _S.STREAM:
            self.down_since_ms = None
            self._ack(self.position, now_ms)

    def _adopt_mark(self, mark: HistoryMark, end: int, now_ms: int) -> bool:
        """Compares histories where they can be compared, else takes over the leader's."""
        ours = self.backlog.mark
        if mark.base == ours.base:
            if mark.checksum == ours.checksum:
                return True
            self._diverged(mark.checksum, ours.checksum, now_ms)
            return False
        had_bytes = len(self.backlog) > 0
        self.backlog.reset(end, mark)
        if had_bytes:
            self._do(act.DropFollowers("the history checksum has a new base"))
        return True

    def _diverged(self, theirs: int, ours: int, now_ms: int) -> None:
        self.stats.histories_diverged += 1
        reason = (
            f"our history has diverged at offset {self.received_position}: the leader's checksum"
            f" is {theirs:016x} and ours {ours:016x}; a full synchronization is needed"
        )
        self._fail(reason, now_ms, at_once=True)
        self.resumable = False

    # full sync

    def _full_resync(self, words: list[str], now_ms: int) -> None:
        position = _offset(words[2]) if len(words) > 2 else None
        if position is None or not is_replid(words[1]) or not self._read_offer(words):
            self._fail(f"unexpected reply to PSYNC: {' '.join(words)}", now_ms)
            return
        if self._handover:
            self._fail("Failover target wants a full synchronization", now_ms)
            return
        if self._epoch_is_behind(now_ms):
            return
        self._log(LogLevel.NOTICE, f"Full resync from master: {words[1]}:{position}")
        self._begin_loading(words[1], position, now_ms)

    def _begin_loading(self, replid: str, position: int, now_ms: int) -> None:
        self._new_replid, self._new_position = replid, position
        offer = self._offer
        if offer is None:
            self.snapshot = SnapshotReceiver()
        else:
            self._reader = FrameReader()
            held = HeldLog(SYNC_HELD_MEMORY_BYTES, self.new_overflow())
            self.snapshot = SyncIntake(self._reader, position, offer.mark.checksum, held)
        self._kept_alive_ms = now_ms
        self._room_told = True
        self._become(_S.LOADING)
        self._do(act.LoadBegin(replid, max(position, 0)))

    def _take_snapshot(self, data: bytes, now_ms: int) -> None:
        snapshot = self.snapshot
        assert snapshot is not None
        try:
            if isinstance(snapshot, SyncIntake):
                chunks = self._take_interleaved(snapshot, data, now_ms)
            else:
                chunks = snapshot.feed(data)
        except (FrameError, SnapshotError) as error:
            self._refuse_snapshot(error, now_ms)
            return
        for chunk in chunks:
            self._do(act.LoadChunk(chunk))
        if snapshot.finished:
            self._held = b"" if isinstance(snapshot, SyncIntake) else snapshot.rest
            self._become(_S.COMMITTING)
            self._do(act.LoadCommit())

    def _refuse_snapshot(self, error: Exception, now_ms: int) -> None:
        self.stats.snapshots_rejected += 1
        self._fail(f"the snapshot was refused: {error}", now_ms)

    def _take_interleaved(self, snapshot: SyncIntake, data: bytes, now_ms: int) -> list[bytes]:
        """Raises `SnapshotError` or `FrameError`."""
        before = (snapshot.damaged, snapshot.repaired, snapshot.repaired_bytes)
        try:
            chunks = snapshot.feed(data)
        finally:
            self._count(snapshot, before)
        self._ask_again_in_sync(snapshot, now_ms)
        if snapshot.ack_due() or snapshot.room != self._room_told:
            self._tell_synced(snapshot)
        return chunks

    def _take_behind(self, data: bytes, now_ms: int) -> None:
        """What comes while the new data set takes its place."""
        if not isinstance(self.snapshot, SyncIntake):
            self._held += data
            return
        try:
            self._take_interleaved(self.snapshot, data, now_ms)
        except (FrameError, SnapshotError) as error:
            self._refuse_snapshot(error, now_ms)

    def _tick_sync(self, now_ms: int) -> None:
        """Asks again for what did not come, and says once a second that we are there."""
        snapshot = self.snapshot
        if isinstance(snapshot, SyncIntake):
            try:
                self._ask_again_in_sync(snapshot, now_ms, by_clock=True)
            except (FrameError, SnapshotError) as error:
                self._refuse_snapshot(error, now_ms)
                return
        if now_ms - self._kept_alive_ms < KEEPALIVE_INTERVAL_MS:
            return
        self._kept_alive_ms = now_ms
        if isinstance(snapshot, SyncIntake) and self.interleaved:
            snapshot.ack_due(by_clock=True)
            self._tell_synced(snapshot)
        else:
            self._do(act.SendToLeader(b"\n"))

    def _tell_synced(self, snapshot: SyncIntake) -> None:
        """How far the snapshot and the stream have come, and whether we can hold more of it."""
        if not self.interleaved:
            return
        room = self._room_told = snapshot.room
        words = [b"REPLCONF", b"SYNCED", b"%d" % snapshot.received_bytes]
        words += [b"STREAM", b"%d" % snapshot.stream.received, b"ROOM", b"%d" % room]
        self._do(act.SendToLeader(_command(*words)))

    def _ask_again_in_sync(
        self, snapshot: SyncIntake, now_ms: int, *, by_clock: bool = False
    ) -> None:
        for of_snapshot, start, end in snapshot.ranges_due(now_ms, by_clock=by_clock):
            self._ask_for(start, end, of_snapshot=of_snapshot)

    def _on_loaded(self, event: ev.SnapshotLoaded, now_ms: int) -> None:
        if self.state is not _S.COMMITTING:
            return
        position = self.loading_position
        offer = self._offer
        self._do(act.DropFollowers("the data set was replaced by the leader's"))
        self.backlog.reset(position, None if offer is None else offer.mark)
        if self._new_replid:
            self.history.restart(self._new_replid)
        self.resumable = bool(self._new_replid)
        self.rewind.active = False
        self.stats.full_syncs += 1
        self._do(act.RecordHistory())
        self._log(LogLevel.NOTICE, "MASTER <-> REPLICA sync: Finished with success")
        snapshot, self.snapshot = self.snapshot, None
        self._enter_stream(position, now_ms)
        if isinstance(snapshot, SyncIntake):
            self._intake = snapshot.stream
            self._received = snapshot.stream.received
            self._handed = position
            if snapshot.held:
                self.held = snapshot.held
                self._do(act.ApplyHeldLater())
            else:
                snapshot.stream.patience = 1
        self._ack(position, now_ms)
        held, self._held = self._held, b""
        self._take_stream(held, now_ms)

    def _on_rejected(self, event: ev.SnapshotRejected, now_ms: int) -> None:
        if self.state not in _SYNCING:
            return
        self.stats.snapshots_rejected += 1
        self._fail(f"the snapshot could not be loaded: {event.reason}", now_ms)

    # stream

    def _enter_stream(self, position: int, now_ms: int) -> None:
        self.backlog.active = True
        self._position = self._received = position
        self._pending.clear()
        self._pending_raw.clear()
        self._intake = None
        if self.framed:
            reader = self._reader if self._reader is not None else FrameReader()
            self._intake = StreamIntake(reader, position, self.backlog.checksum)
        if self._offer is not None and self._offer.epoch > self.history.epoch:
            self.history.raise_epoch(self._offer.epoch)
            self._do(act.RecordHistory())
        self._acked_ms = now_ms
        self._become(_S.STREAM)
        if self.rewind.active:
            self._do(act.FetchKeys())
        else:
            self.down_since_ms = None

    def _take_stream(self, data: bytes, now_ms: int) -> None:
        intake = self._intake
        if intake is None:
            if data:
                self._pending_raw += data
                self._received += len(data)
                if self.pause.on:
                    self.pause.raw_bytes += len(data)
                    self._fit_reading(now_ms)
                else:
                    self._do(act.ApplyStream(data))
            return
        if intake.refusal is not None:
            return
        before = (intake.damaged, intake.repaired, intake.repaired_bytes)
        frames = intake.feed(data)
        self._count(intake, before)
        if self.pause.on and self.held is None:
            self.held = HeldLog(STREAM_HELD_BYTES_MAX)
            self.pause.holds = True
            self._handed = self._received
        self._received = intake.received
        if intake.missing:
            self._ask_again(intake, now_ms)
        if self.held is not None:
            hold(self.held, frames)
            self._fit_reading(now_ms)
            return
        self._use(frames, intake)
        if not self._applying:
            self._refuse_if_due(now_ms)

    def _on_held_due(self, event: ev.HeldDue, now_ms: int) -> None:
        """Has the next piece applied of what came with the snapshot, or during a pause."""
        held, intake = self.held, self._intake
        if held is None or intake is None or self.pause.on:
            return
        try:
            frames = held_frames(held)
        except (OSError, FrameError) as error:
            self._fail(f"the stream held during the full sync cannot be used: {error}", now_ms)
            return
        self._use(frames, intake)
        if held:
            self._do(act.ApplyHeldLater())
        else:
            self.held = None
        self._fit_reading(now_ms)
        if self.pause.holds:
            self.pause.holds = bool(held)
        elif not held:
            intake.patience = 1
            self._log(LogLevel.NOTICE, "MASTER <-> REPLICA sync: caught up with the stream")
            if self._lost:
                self._fail(self._lost, now_ms, at_once=True)

    def _on_paused(self, event: ev.StreamPaused, now_ms: int) -> None:
        if event.paused == self.pause.on:
            return
        self.pause.on = event.paused
        if event.paused or self.state is not _S.STREAM:
            return
        raw_bytes, self.pause.raw_bytes = self.pause.raw_bytes, 0
        if raw_bytes:
            self._do(act.ApplyStream(bytes(self._pending_raw[-raw_bytes:])))
        if self.held:
            self._do(act.ApplyHeldLater())
        else:
            self.held = None
            self.pause.holds = False
        self._fit_reading(now_ms)

    def _fit_reading(self, now_ms: int) -> None:
        """The leader is not read from while a pause has left too much to be applied."""
        held_bytes = 0 if self.held is None else self.held.held_bytes
        reading = self.pause.may_read(held_bytes)
        if reading != self.pause.reading:
            self.pause.reading = reading
            self.heard_ms = now_ms
            self._do(act.ReadLeader(reading))

    def _use(self, frames: list[Frame], intake: StreamIntake) -> None:
        """Has the stream applied, and what stands between its frames done in its place."""
        bodies: list[bytes] = []
        for frame in frames:
            if frame.kind is FrameKind.STREAM:
                self._handed = frame.end
                self._pending.append(frame)
                bodies.append(frame.body)
                continue
            self._apply(bodies)
            bodies = []
            try:
                values = self.rewind.take(frame.body, self.heard_ms)
                self._do(*(self._compared.take(frame.body) if values is None else values))
            except FrameError as error:
                intake.refusal = error
        self._apply(bodies)

    def _apply(self, bodies: list[bytes]) -> None:
        if bodies:
            self._applying += 1
            self._do(act.ApplyStream(bodies[0] if len(bodies) == 1 else b"".join(bodies)))

    def _on_compared(self, event: ev.DataCompared, now_ms: int) -> None:
        answer = self._compared.answer(event) if self.state is _S.STREAM else None
        if answer is not None:
            self._do(act.SendToLeader(_command(b"REPLCONF", b"VERIFY", answer)))

    def _on_rebuild(self, event: ev.RebuildWanted, now_ms: int) -> None:
        if self.state is _S.STREAM:
            self._fail(f"a full synchronization is needed: {event.reason}", now_ms, at_once=True)
            self.resumable = False

    def _count(self, intake: StreamIntake | SyncIntake, before: tuple[int, int, int]) -> None:
        damaged, repaired, repaired_bytes = before
        self.stats.frames_rejected += intake.damaged - damaged
        self.stats.frames_repaired += intake.repaired - repaired
        self.stats.bytes_repaired += intake.repaired_bytes - repaired_bytes

    def _ask_again(self, intake: StreamIntake, now_ms: int, *, by_clock: bool = False) -> None:
        """Asks for what came damaged, and for nothing else."""
        for start, end in intake.ranges_due(now_ms, by_clock=by_clock):
            self._ask_for(start, end)

    def _ask_for(self, start: int, end: int, *, of_snapshot: bool = False) -> None:
        to = "" if end < 0 else f" to {end}"
        what = "snapshot" if of_snapshot else "stream"
        self._log(
            LogLevel.WARNING,
            f"Damage in the {what} from the master: asking again for bytes from {start}{to}",
        )
        name = b"RESEND-SNAPSHOT" if of_snapshot else b"RESEND"
        words = (b"REPLCONF", name, b"%d" % start, b"END", b"%d" % end)
        self._do(act.SendToLeader(_command(*words)))

    def _refuse_if_due(self, now_ms: int) -> None:
        """Gives up the link for what cannot be mended, once all before it has been applied."""
        if self.held is not None:
            return
        refusal = None if self._intake is None else self._intake.refusal
        if isinstance(refusal, HistoryMismatchError):
            self._diverged(refusal.theirs, refusal.ours, now_ms)
        elif refusal is not None:
            self._reject(refusal, now_ms)

    def _reject(self, error: Exception, now_ms: int) -> None:
        at = self._received
        again = at == self._rejected_position
        self._rejected_position = at
        self._fail(f"a frame was refused: {error}", now_ms, at_once=not again)

    def _on_applied(self, event: ev.StreamApplied, now_ms: int) -> None:
        if self.state is not _S.STREAM:
            return
        position = event.position
        self._applying = max(0, self._applying - 1)
        assert self.backlog.end <= position <= self._received
        self._position = position
        if self._intake is None:
            self._seal_raw(position, now_ms)
            return
        while self._pending and self._pending[0].end <= position:
            frame = self._pending.popleft()
            self.lag_ms = max(0, now_ms + self.wall_offset_ms - frame.timestamp_ms)
            self._relay(frame)
        if self._ack_due:
            self._ack(position, now_ms)
        if not self._applying:
            self._refuse_if_due(now_ms)

    def _on_unreadable(self, event: ev.StreamUnreadable, now_ms: int) -> None:
        """The same bytes would come again, so there is nothing to resume."""
        if self.state is _S.STREAM:
            self._fail(f"the stream cannot be read: {event.reason}", now_ms)
            self.resumable = False

    def _relay(self, frame: Frame) -> None:
        self.backlog.append_sealed(frame)
        self.leader_timestamp_ms = frame.timestamp_ms
        if frame.epoch > self.history.epoch:
            self.history.raise_epoch(frame.epoch)
            self._do(act.RecordHistory())

    def _seal_raw(self, position: int, now_ms: int) -> None:
        """A stock leader's bytes become frames here: from now on they are protected."""
        count = position - self.backlog.end
        if count:
            data = bytes(self._pending_raw[:count])
            del self._pending_raw[:count]
            self.backlog.append(data, now_ms + self.wall_offset_ms, self.history.epoch)
            self.leader_timestamp_ms = now_ms + self.wall_offset_ms

    def _cut_pending(self) -> None:
        """Keeps of what is pending the part that was applied, and forgets the rest."""
        keep_bytes = self._position - self.backlog.end
        if keep_bytes > 0 and self._pending:
            frame = self._pending[0]
            self._relay(parse_frame(reseal_head(frame, keep_bytes, self.backlog.checksum)))
        self._pending.clear()
        self._pending_raw.clear()
        self._received = self._position = self.backlog.end

    # acknowledging

    def _on_getack(self, event: ev.GetackReceived, now_ms: int) -> None:
        if self.state is _S.STREAM:
            self._ack(event.position, now_ms)
            # A leader of ours may wait for its very last byte, which is this command's.
            self._ack_due = self.framed

    def _ack(self, position: int, now_ms: int) -> None:
        self._acked_ms = now_ms
        self._ack_due = False
        if self.rewind.active:
            position = 0  # no position is that of all our data
        words = [b"REPLCONF", b"ACK", b"%d" % position]
        if self.framed and position == self.backlog.end:
            words += [b"HISTORY", b"%016x" % self.backlog.checksum]
        self._do(act.SendAck(position, _command(*words)))

    # common

    def _do(self, *wanted: Action) -> None:
        self._actions.extend(wanted)

    def _log(self, level: LogLevel, text: str) -> None:
        self._actions.append(Log(level, text))

    def invariants(self) -> None:
        """Raises `AssertionError` where the machine contradicts itself."""
        self.history.invariants()
        if self.state is _S.STREAM:
            assert self.backlog.active
            assert self.backlog.end <= self._position <= self._received
            pending = sum(len(frame.body) for frame in self._pending) + len(self._pending_raw)
            received = self._received if self.held is None else self._handed
            assert self.backlog.end + pending == received
        else:
            assert not self._pending
            assert not self._pending_raw
        assert (self.snapshot is not None) == (self.state in _SYNCING)
        assert not self._replies_due or self.state is _S.CONFIGURING


def _command(*words: bytes) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def _offset(text: str) -> int | None:
    if not text.isdigit() or len(text) > 19:
        return None
    return int(text) if int(text) <= POSITION_MAX else None


_GRANTED: Final = f"+OK frames {FRAMES_VERSION}"

_TIMEOUT_TEXTS: Final = {
    _S.DIALLING: "Timeout connecting to the MASTER...",
    _S.HELLO: "Timeout connecting to the MASTER...",
    _S.LOADING: (
        "Timeout receiving bulk data from MASTER... If the problem persists try to set the"
        " 'repl-timeout' parameter in redis.conf to a larger value."
    ),
    _S.STREAM: "MASTER timeout: no data nor PING received...",
}

_LINE_HANDLERS: Final[dict[FollowerState, Callable[[Follower, str, int], None]]] = {
    _S.HELLO: Follower._hello_line,
    _S.CONFIGURING: Follower._configuring_line,
    _S.ASKING: Follower._asking_line,
}

_HANDLERS: Final[dict[type[ev.Event], Callable[[Follower, Any, int], None]]] = {
    ev.FollowRequested: Follower._on_follow,
    ev.UnfollowRequested: Follower._on_unfollow,
    ev.LeaderConnected: Follower._on_connected,
    ev.LeaderUnreachable: Follower._on_unreachable,
    ev.LeaderBytes: Follower._on_bytes,
    ev.LeaderLinkClosed: Follower._on_link_closed,
    ev.StreamApplied: Follower._on_applied,
    ev.StreamUnreadable: Follower._on_unreadable,
    ev.DataCompared: Follower._on_compared,
    ev.RebuildWanted: Follower._on_rebuild,
    ev.HeldDue: Follower._on_held_due,
    ev.StreamPaused: Follower._on_paused,
    ev.GetackReceived: Follower._on_getack,
    ev.RewindPrepared: Follower._on_prepared,
    ev.KeysWanted: Follower._on_wanted,
    ev.RewindEnded: Follower._on_rewound,
    ev.SnapshotLoaded: Follower._on_loaded,
    ev.SnapshotRejected: Follower._on_rejected,
}
