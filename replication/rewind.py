"""Rewind: a node whose history has left its new leader's goes back to the fork, and no further.

The problem: a leader dies, a follower is promoted, and the old leader comes back with writes that
nobody else has. It cannot resume, and to send it everything again for the sake of a few keys costs
as much as the data is large. The idea: all but the keys that its own tail touched is right. So the
tail is put aside in a file, and these keys alone are fetched.

    old leader   ------------ fork ~~~~ its own tail ~~~~ end
    new leader   ------------ fork ======== stream ======== X ====>

    PSYNC id end+1       ->    the id is known, but only up to the fork
                         <-    +FORK id position how ...
    (the tail goes into a rollback file)
    PSYNC id position+1  ->
                         <-    +CONTINUE newid, and the stream from the fork on
    REPLCONF VALUES keys ->    reads them as they are at X
                         <-    a VERIFY frame that stands at X, with their values

Both sides name their *lineage*: every id they know, with the last position that belongs to it. The
fork is the latest position that both know under the same id.

What the follower has between fork and X is its data except for the *dirty* keys: those of the tail,
and those that a command of the stream wrote while it read a dirty one. Commands on dirty keys are
passed over, since the value that comes stands for all of them. A value is that of the position at
which its frame stands, so what follows it is applied to it, once. The follower is caught up when no
key is dirty; until then it acknowledges nothing, is not `connected`, and nobody may follow it.

Invariants: nothing of the data or the history is changed before the leader has agreed to go on from
the fork; what cannot be rewound is rebuilt by a full sync, after the tail was put aside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from replication import actions as act
from replication import events as ev
from replication.actions import Action, LogLevel, command
from replication.constants import (
    FRAME_BODY_BYTES_MAX,
    REWIND_ANSWER_MS,
    REWIND_BATCH_KEYS,
    VERIFY_REPAIR_BYTES_MAX,
)
from replication.follower_states import FollowerState
from replication.frames import FrameError
from replication.history import HistoryMark
from replication.questions import number_of, pack, unpack

if TYPE_CHECKING:
    from replication.follower import Follower
    from replication.leader import Leader

VALUES: Final = b"values"
"""The verb of the VERIFY frames that bring values to a node that rewinds."""

_BATCH_MAX: Final = 4 * REWIND_BATCH_KEYS
_HEAD: Final = pack([VALUES])


# -- the follower's part --------------------------------------------------------------------------


class RewindSide:
    """A follower's rewind: the point agreed on, and the questions. A part of its machine."""

    __slots__ = (
        "_asked_ms",
        "_blob",
        "_follower",
        "_number",
        "_parts",
        "_request",
        "active",
        "fork",
        "mark",
    )

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.fork: act.Fork | None = None
        """What the leader of this link offered, once the tail has been put aside."""
        self.mark = HistoryMark(0, -1)
        """Our history checksum there."""
        self.active = False
        """Whether keys are dirty: the data is at the position but for them."""
        self._number = 0
        self._request = b""
        self._asked_ms = 0
        self._parts = 0
        self._blob = b""

    def reset(self) -> None:
        """The link is gone, and with it what was agreed and asked on it."""
        self.fork = None
        self._request = b""
        self._parts, self._blob = 0, b""

    # back to the fork

    def prepare(self, fork: act.Fork) -> None:
        """The leader knows our history up to the fork. What is behind it is put aside first."""
        follower = self._follower
        follower.log(
            LogLevel.WARNING,
            f"The master's history leaves ours at offset {fork.position}, and ours ends at"
            f" {follower.backlog.end}: what is between is put aside",
        )
        self.fork = fork
        follower.become(FollowerState.PREPARING)
        follower.do(act.PrepareRewind(fork, f"{follower.host}:{follower.port}"))

    def on_prepared(self, event: ev.RewindPrepared, now_ms: int) -> None:
        """The tail is safe: asks for what follows the fork, or for everything."""
        follower = self._follower
        fork, offer = self.fork, follower.handshake.offer
        if follower.state is not FollowerState.PREPARING or fork is None:
            return
        if event.failure:
            follower.fail(event.failure, now_ms)
            return
        refusal, mark = event.refusal, event.mark
        if fork.how == act.GONE:
            refusal = refusal or f"the master's backlog does not go back to {fork.position}"
        elif follower.history.epoch == 0 and fork.replid != follower.history.replid:
            # Who was made independent by hand and is sent back is rebuilt, as with redis-server.
            refusal = refusal or "it was made a master by hand, and this one never followed it"
        elif mark is None:
            refusal = refusal or "our own history checksum there is not known"
        elif offer is not None and mark.base == offer.mark.base and mark != offer.mark:
            follower.stats.histories_diverged += 1
            refusal = refusal or "the history checksums differ there"
        follower.heard_ms = now_ms
        if refusal or mark is None:
            follower.log(LogLevel.WARNING, f"A full synchronization is needed: {refusal}")
            self.fork, follower.resumable = None, False
            follower.handshake.ask()
            return
        self.mark = mark
        follower.handshake.configure_again()

    def go_back(self, fork: act.Fork) -> None:
        """The leader goes on from the fork, so our history ends there now."""
        follower = self._follower
        follower.do(act.BeginRewind(fork.position))
        follower.do(act.DropFollowers("the history went back to where the master's left it"))
        try:
            follower.backlog.rewind(fork.position, self.mark)
        except FrameError:
            follower.backlog.reset(fork.position, self.mark)
        follower.history.go_back(fork.replid, fork.position)
        self.fork, self.active = None, True
        follower.stats.rewinds += 1

    def on_ended(self, event: ev.RewindEnded, now_ms: int) -> None:
        """No key is dirty: the data is that of the position."""
        follower = self._follower
        self.active = False
        self.reset()
        if follower.state is FollowerState.STREAM:
            follower.down_since_ms = None
            follower.stream.ack(follower.position, now_ms)

    # the dirty keys

    def on_wanted(self, event: ev.KeysWanted, now_ms: int) -> None:
        """Asks the leader for keys."""
        if self._follower.state is not FollowerState.STREAM or not self.active:
            return
        self._number += 1
        words = [b"%d" % self._number]
        for db_index, key in event.keys:
            words += (b"%d" % db_index, key)
        self._request = pack(words)
        self._ask(now_ms)

    def tick(self, now_ms: int) -> None:
        """Asks again, where the answer has not come for long."""
        if self._request and now_ms - self._asked_ms >= REWIND_ANSWER_MS:
            self._ask(now_ms)

    def _ask(self, now_ms: int) -> None:
        self._asked_ms = now_ms
        self._parts, self._blob = 0, b""
        self._follower.do(act.SendToLeader(command(b"REPLCONF", b"VALUES", self._request)))

    def take(self, body: bytes, now_ms: int) -> list[Action] | None:
        """What a VERIFY frame asks for, None where it is no answer to a rewind. Raises
        `FrameError` for a malformed one."""
        if not body.startswith(_HEAD):
            return None
        words = unpack(body)
        if len(words) != 5:
            raise FrameError("an answer of the wrong number of words")
        number, part = number_of(words[1]), number_of(words[2])
        if not self.active or number != self._number or not self._request:
            return []
        if part == 0:
            self._parts, self._blob = 0, b""
        if part != self._parts:
            return []  # a part was lost, so the question will be put again
        self._asked_ms = now_ms
        self._parts += 1
        self._blob += words[4]
        if len(self._blob) > VERIFY_REPAIR_BYTES_MAX:
            raise FrameError("an answer is too long")
        if words[3] != b"last":
            return []
        blob, self._blob, self._request = self._blob, b"", b""
        return [act.TakeValues(unpack_values(blob))]


# -- the leader's part ----------------------------------------------------------------------------


class KeyServer:
    """Reads keys for followers that rewind, each at the position where its answer stands."""

    def __init__(self, leader: Leader) -> None:
        self.leader = leader
        self.at_end: Callable[[], bool] = lambda: True
        """Whether this node's data is at the end of its backlog."""
        self.keys_sent = 0
        self._due: deque[act.ReadKeys] = deque()

    def asked(self, link: int, payload: bytes) -> None:
        """A follower's question. What makes no sense is passed over."""
        try:
            words = unpack(payload)
            if not 3 <= len(words) <= 1 + 2 * _BATCH_MAX or len(words) % 2 == 0:
                return
            keys = tuple((number_of(words[at]), words[at + 1]) for at in range(1, len(words), 2))
            number = number_of(words[0])
        except FrameError:
            return
        progress = self.leader.followers.get(link)
        if (
            progress is not None
            and progress.rewinding
            and len(self._due) < len(self.leader.followers)
        ):
            self._due.append(act.ReadKeys(link, number, keys))

    def take_actions(self) -> list[Action]:
        """What can be read now."""
        if not self._due or not self.at_end():
            return []
        taken: list[Action] = list(self._due)
        self._due.clear()
        return taken

    def keys_read(self, event: ev.KeysRead) -> None:
        """The values, as they are at the end of the stream now."""
        blob = pack_values(event.values)
        self.keys_sent += len(event.values)
        size = FRAME_BODY_BYTES_MAX - 256
        for part, at in enumerate(range(0, max(1, len(blob)), size)):
            last = b"last" if at + size >= len(blob) else b"more"
            words = [VALUES, b"%d" % event.number, b"%d" % part, last, blob[at : at + size]]
            self.leader.send_control(event.link, pack(words))


# -- forms ----------------------------------------------------------------------------------------


def pack_values(values: tuple[act.KeyValue, ...]) -> bytes:
    """(database, key, expiry, value as DUMP gives it)... as words; an empty value is no key."""
    words: list[bytes] = []
    for value in values:
        words += (b"%d" % value.db_index, value.key, b"%d" % value.expire_ms, value.payload)
    return pack(words)


def unpack_values(blob: bytes) -> tuple[act.KeyValue, ...]:
    """Raises `FrameError` for what `pack_values` does not give."""
    words = unpack(blob)
    if len(words) % 4:
        raise FrameError("an answer is cut short")
    return tuple(
        act.KeyValue(number_of(words[at]), words[at + 1], number_of(words[at + 2]), words[at + 3])
        for at in range(0, len(words), 4)
    )
