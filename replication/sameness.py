"""Sameness: whether every follower holds what its leader holds, and the repair of what differs.

The problem: a bug, a bad bit of memory or a stray write makes a follower differ, and nobody learns
of it before it is promoted. The idea: both sides digest the data *as it is at one position of the
stream*, while writes go on, and compare sums; only what differs is looked at again, and sent.

    leader                                   follower
    position P:  DIGESTS  ------------------>  at P: digests of all buckets, as of P
       |  (digests its own data, as of P)      |
       v     <------ one sum a bucket ---------+
    some differ:
    position Q:  KEYS buckets  ------------->  at Q: the keys of these buckets, with digests
             <------ keys and digests ---------+
    position R:  REPAIR keys  -------------->  at R: takes these values, as of R
             <------ done ---------------------+

Questions travel in VERIFY frames, which stand in the stream at their position and are no part of
it: they are not counted, not kept in the backlog, and not seen by a stock follower. Answers come as
`REPLCONF VERIFY <words>`.

A repair is right whatever happened since the question: it brings the values as they are at the
position where it stands, so it never undoes a write. A follower in which very much differs is not
repaired but told to do a full sync.

Invariants: one pass at a time; a follower is in `_asked` exactly while its answer is due; what a
peer sends is bounded and read by `unpack`, which refuses anything else.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from replication import actions as act
from replication import events as ev
from replication.actions import Action, Log, LogLevel
from replication.constants import (
    FRAME_BODY_BYTES_MAX,
    VERIFY_BATCH_KEYS,
    VERIFY_BUDGET_ASKED_PERCENT,
    VERIFY_KEYS_MAX,
    VERIFY_NAMED_MAX,
    VERIFY_TIMEOUT_MS,
)
from replication.frames import FrameError
from replication.leader import Leader
from replication.progress import Progress
from replication.questions import (
    DECLINED,
    DIGESTS,
    DONE,
    KEYS,
    REBUILD,
    REPAIR,
    Key,
    number_of,
    pack,
    pack_numbers,
    unpack,
    unpack_keys,
    unpack_numbers,
)


class Phase(enum.Enum):
    """Where a pass is; the words of INFO."""

    IDLE = "idle"
    DIGESTS = "digests"
    KEYS = "keys"
    REPAIR = "repair"


@dataclass(slots=True)
class Found:
    """What a pass found of one follower."""

    name: str
    buckets: tuple[int, ...] = ()
    """Those whose digests differ."""
    keys: int = 0
    repaired: int = 0
    named: list[Key] = field(default_factory=list)
    """The first of the keys that differ."""
    note: str = ""
    """Why it was not compared to the end; "" if it was."""


@dataclass(slots=True)
class Report:
    """A pass: the one under way, or the last."""

    number: int = 0
    position: int = 0
    """Of the stream, at which the data was compared."""
    keys: int = 0
    """Keys that the leader held there."""
    bytes_sent: int = 0
    bytes_received: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    found: dict[int, Found] = field(default_factory=dict)
    """By link."""

    @property
    def same(self) -> bool:
        """Whether nothing differed."""
        return all(not each.buckets for each in self.found.values())


class Sameness:
    """A leader's part. `leader` sends the questions at their positions."""

    def __init__(self, leader: Leader) -> None:
        self.leader = leader
        self.at_end: Callable[[], bool] = lambda: True
        """Whether this node's data is at the end of its backlog: not so while a follower with
        followers of its own has received a part of a command."""
        self.interval_ms = 0
        """Between two passes by the clock; 0 for none."""
        self.budget_percent = 5
        """Of a core, for passes by the clock."""
        self.phase = Phase.IDLE
        self.report = Report()
        self.last = Report()
        """The last pass that ended."""
        self.passes = 0
        self.passes_differing = 0
        self.keys_repaired = 0
        self._asked: set[int] = set()
        self._own: ev.OwnDataCompared | None = None
        self._answers: dict[int, list[bytes]] = {}
        self._due: dict[int, list[Key]] = {}
        self._budget_percent = 0
        self._progress_ms = 0
        self._ended_ms: int | None = None
        self._actions: list[Action] = []

    def take_actions(self) -> list[Action]:
        """Hands over what is to be done, in order, and forgets it."""
        taken, self._actions = self._actions, []
        return taken

    # driving

    def start(self, now_ms: int, *, by_hand: bool) -> str | None:
        """Begins a pass; why it cannot begin, or None."""
        if self.phase is not Phase.IDLE:
            return "a verification is under way"
        if not self.at_end():
            return "a command of the master's is half received, try again"
        links = [p.link for p in self.leader.attached if _comparable(p)]
        if not links:
            return "no follower of ours is online"
        report = self.report = Report(self.last.number + 1, self.leader.backlog.end)
        report.started_ms = self._progress_ms = now_ms
        report.found = {link: Found(_name(self.leader.followers[link])) for link in links}
        self._budget_percent = VERIFY_BUDGET_ASKED_PERCENT if by_hand else self.budget_percent
        self._ask(Phase.DIGESTS, dict.fromkeys(links, ()), None)
        return None

    def tick(self, now_ms: int) -> None:
        """Begins and gives up passes by the clock, and goes on with a repair."""
        if self.phase is Phase.IDLE:
            since_ms = self._ended_ms
            if since_ms is None:
                since_ms = self._ended_ms = now_ms
            due = self.interval_ms and now_ms - since_ms >= self.interval_ms
            if due and self.leader.attached and self.start(now_ms, by_hand=False) is not None:
                self._ended_ms = now_ms
            return
        for link in [link for link in self._asked if link not in self.leader.followers]:
            self._leave(link, "its link was lost")
        if now_ms - self._progress_ms > VERIFY_TIMEOUT_MS:
            for link in list(self._asked):
                self._leave(link, "it did not answer")
            self._end(now_ms)
            return
        self._go_on(now_ms)

    def stop(self, now_ms: int) -> None:
        """This node's own data has been replaced: nothing asked about it counts."""
        if self.phase is not Phase.IDLE:
            for link in list(self._asked):
                self._leave(link, "the leader's data was replaced")
            self._end(now_ms)

    def own_data_compared(self, event: ev.OwnDataCompared, now_ms: int) -> None:
        """This node's own data has been digested."""
        if event.number == self.report.number and self.phase in (Phase.DIGESTS, Phase.KEYS):
            self._own = event
            if event.buckets is not None:
                self.report.keys = event.keys
            self._progress_ms = now_ms
            self._go_on(now_ms)

    def answered(self, link: int, payload: bytes, now_ms: int) -> None:
        """A follower's answer. What makes no sense is a reason to leave it out."""
        if link not in self._asked:
            return
        try:
            words = unpack(payload)
            if len(words) < 2 or number_of(words[1]) != self.report.number:
                return
            self._take_answer(link, words[0], words[2:])
        except FrameError as error:
            self._leave(link, f"its answer cannot be read: {error}")
        self.report.bytes_received += len(payload)
        self._progress_ms = now_ms
        self._go_on(now_ms)

    def values_read(self, event: ev.ValuesRead, now_ms: int) -> None:
        """The values of keys to be repaired, as they are now."""
        words: list[bytes] = []
        for value in event.values:
            words += (b"%d" % value.db_index, value.key, b"%d" % value.expire_ms, value.payload)
        blob = pack(words)
        size = FRAME_BODY_BYTES_MAX - 256
        number = b"%d" % self.report.number
        for at in range(0, len(blob), size):
            last = b"last" if at + size >= len(blob) else b"more"
            self._send(event.link, pack([REPAIR, number, last, blob[at : at + size]]))
        self._asked.add(event.link)
        self._progress_ms = now_ms

    # parts

    def _ask(
        self, phase: Phase, wanted: dict[int, tuple[int, ...]], own: frozenset[int] | None
    ) -> None:
        self.phase = phase
        self._own, self._answers = None, {}
        self._asked = set(wanted)
        head = [b"%d" % self.report.number, b"%d" % self._budget_percent]
        for link, buckets in wanted.items():
            words = [DIGESTS, *head]
            if own is not None:
                words = [KEYS, *head, pack_numbers(buckets)]
            self._send(link, pack(words))
        self._do(act.CompareOwnData(self.report.number, own, self._budget_percent))

    def _send(self, link: int, body: bytes) -> None:
        self.report.bytes_sent += len(body)
        self.leader.send_control(link, body)

    def _take_answer(self, link: int, verb: bytes, words: list[bytes]) -> None:
        if verb == DECLINED:
            self._leave(link, (words[0] if words else b"it declined").decode("latin-1"))
            return
        self._asked.discard(link)
        if verb == DONE and self.phase is Phase.REPAIR:
            return
        if verb not in (DIGESTS, KEYS):
            raise FrameError(f"unknown answer {verb[:20]!r}")
        self._answers[link] = words

    def _leave(self, link: int, note: str) -> None:
        self._asked.discard(link)
        self._answers.pop(link, None)
        self._due.pop(link, None)
        self.report.found[link].note = note
        name = self.report.found[link].name
        self._log(LogLevel.NOTICE, f"Verification leaves out replica {name}: {note}")

    def _go_on(self, now_ms: int) -> None:
        if not self.at_end():
            return
        if self.phase is Phase.REPAIR:
            self._repair(now_ms)
        elif self.phase is not Phase.IDLE and not self._asked and self._own is not None:
            if self.phase is Phase.DIGESTS:
                self._compare_digests(now_ms)
            else:
                self._compare_keys(now_ms)
        elif self.phase is not Phase.IDLE and not self._asked and not self._answers:
            self._end(now_ms)

    def _compare_digests(self, now_ms: int) -> None:
        assert self._own is not None
        ours = self._own.buckets
        assert ours is not None
        wanted: dict[int, tuple[int, ...]] = {}
        for link, words in list(self._answers.items()):
            theirs = unpack_numbers(words[0]) if words and len(words[0]) == 8 * len(ours) else ()
            if not theirs:
                self._leave(link, "it counts in other buckets")
                continue
            found = self.report.found[link]
            found.buckets = tuple(at for at, each in enumerate(ours) if each != theirs[at])
            if found.buckets:
                shown = ", ".join(map(str, found.buckets[:VERIFY_NAMED_MAX]))
                self._log(
                    LogLevel.WARNING,
                    f"Verification: the data of replica {found.name} differs from ours at offset"
                    f" {self.report.position} in {len(found.buckets)} of {len(ours)} buckets:"
                    f" {shown}",
                )
                wanted[link] = found.buckets
        for link in [link for link, buckets in wanted.items() if 4 * len(buckets) > len(ours)]:
            del wanted[link]
            self._rebuild(link, "too many buckets differ")
        if wanted:
            self._ask(Phase.KEYS, wanted, frozenset().union(*wanted.values()))
        else:
            self._end(now_ms)

    def _compare_keys(self, now_ms: int) -> None:
        assert self._own is not None
        self._due = {}
        for link, words in list(self._answers.items()):
            try:
                theirs = unpack_keys(words)
            except FrameError as error:
                self._leave(link, f"its answer cannot be read: {error}")
                continue
            asked = frozenset(self.report.found[link].buckets)
            ours = {
                (db_index, key): digest
                for db_index, key, digest, bucket in self._own.listed
                if bucket in asked
            }
            differing = [key for key, digest in ours.items() if theirs.get(key) != digest]
            differing += [key for key in theirs if key not in ours]
            self._name(link, differing)
            if len(differing) > VERIFY_KEYS_MAX:
                self._rebuild(link, f"{len(differing)} keys differ")
            elif differing:
                self._due[link] = differing
        self.phase = Phase.REPAIR
        self._repair(now_ms)

    def _name(self, link: int, differing: list[Key]) -> None:
        found = self.report.found[link]
        found.keys = len(differing)
        found.named = differing[:VERIFY_NAMED_MAX]
        for db_index, key in found.named:
            self._log(
                LogLevel.WARNING,
                f"Verification: key {key!r} of database {db_index} differs on replica {found.name}",
            )

    def _repair(self, now_ms: int) -> None:
        """One batch a follower at a time: each brings its keys as they are where it stands."""
        for link in [link for link in self._due if link not in self._asked]:
            keys = self._due[link]
            batch, self._due[link] = keys[:VERIFY_BATCH_KEYS], keys[VERIFY_BATCH_KEYS:]
            if not batch:
                del self._due[link]
                continue
            self._asked.add(link)
            self.report.found[link].repaired += len(batch)
            self.keys_repaired += len(batch)
            self._do(act.ReadValues(link, tuple(batch)))
        if not self._due and not self._asked:
            self._end(now_ms)

    def _rebuild(self, link: int, reason: str) -> None:
        found = self.report.found[link]
        found.note = f"{reason}: it does a full sync"
        self._log(LogLevel.WARNING, f"Verification: replica {found.name} is rebuilt, as {reason}")
        self._send(link, pack([REBUILD, b"%d" % self.report.number]))

    def _end(self, now_ms: int) -> None:
        report = self.report
        report.ended_ms = self._ended_ms = now_ms
        self.phase = Phase.IDLE
        self._asked, self._answers, self._due, self._own = set(), {}, {}, None
        self.last = report
        self.passes += 1
        self.passes_differing += not report.same
        self._do(act.AbandonComparison())
        level = LogLevel.VERBOSE if report.same else LogLevel.WARNING
        repaired = sum(each.repaired for each in report.found.values())
        self._log(
            level,
            f"Verification {report.number} ended: {report.keys} keys, {len(report.found)} replicas,"
            f" {repaired} keys repaired, {report.bytes_sent} bytes sent",
        )

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    def _log(self, level: LogLevel, text: str) -> None:
        self._actions.append(Log(level, text))


def _comparable(progress: Progress) -> bool:
    whole = progress.online and not progress.stream_on_ack and not progress.rewinding
    return progress.framed and whole


def _name(progress: Progress) -> str:
    return f"{progress.host}:{progress.listening_port}"
