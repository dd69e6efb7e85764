"""The worlds of the replication scenarios: a leader alone, a follower alone, and a pair of them
with a wire between that can be cut, held and damaged.
"""

import re
from collections.abc import Iterator
from dataclasses import fields

from replication import actions as act
from replication import events as ev
from replication.actions import Action, KeyValue
from replication.backlog import Backlog
from replication.checksum import crc32c, history_checksum
from replication.follower import Follower
from replication.frames import HEADER_BYTES, MAGIC, FrameKind, parse_header, seal
from replication.history import History, HistoryMark
from replication.leader import Leader
from replication.questions import pack
from replication.rewind import pack_values
from replication.settings import FollowerSettings, LeaderSettings
from tests.scenarios.miniature import Node, Wire
from tests.scenarios.miniature import World as Miniature
from tests.scenarios.runner import Command

_REPLID = re.compile(r"[0-9a-f]{40}")


def short_ids(text: str) -> str:
    """Replication ids as `id:N`: they are counted in scenarios."""
    return _REPLID.sub(lambda found: f"id:{int(found.group(), 16):x}", text)


def long_id(text: str) -> str:
    """`id:N` as 40 digits; anything else as it is."""
    return f"{int(text[3:], 16):040x}" if text.startswith("id:") else text


def long_ids(text: str) -> str:
    """Every `id:N` in a text as 40 digits."""
    return re.sub(r"id:[0-9a-f]+", lambda found: long_id(found.group()), text)


def ids(start: int = 1) -> Iterator[str]:
    """Replication ids in place of random ones."""
    number = start
    while True:
        yield f"{number:040x}"
        number += 1


def show_bytes(data: bytes) -> str:
    """Bytes as frames where they are frames, else quoted."""
    if data.startswith(MAGIC):
        return " ".join(_show_frames(data))
    text = repr(data)[2:-1]
    return f'"{short_ids(text)}"' if len(data) <= 400 else f"<{len(data)} bytes>"


def _show_frames(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        if not data[at:].startswith(MAGIC):
            yield show_bytes(data[at:])
            return
        header = parse_header(data, at)
        body = data[at + HEADER_BYTES : at + HEADER_BYTES + header.body_bytes]
        end = header.start + header.body_bytes
        yield f"[{header.kind.name} {header.start}..{end} epoch {header.epoch} {show_bytes(body)}]"
        at += HEADER_BYTES + header.body_bytes


def show_action(action: Action) -> str:
    """An action as a line."""
    if isinstance(action, act.Log):
        return f"log {action.level.value}: {short_ids(action.text)}"
    words = [re.sub(r"(?<!^)(?=[A-Z])", "-", type(action).__name__).lower()]
    for item in fields(action):  # type: ignore[arg-type]
        value = getattr(action, item.name)
        if value is False and item.name == "flush":
            continue
        shown = show_bytes(value) if isinstance(value, bytes) else short_ids(str(value))
        words.append(shown if item.name in ("data", "link") else f"{item.name}={shown}")
    return " ".join(words)


def _show_history(history: History) -> str:
    return (
        f"history {short_ids(history.replid)} second {short_ids(history.replid2)}"
        f" up to {history.replid2_position} epoch {history.epoch}"
    )


def _show_backlog(backlog: Backlog) -> str:
    return (
        f"backlog {backlog.start}..{backlog.end} {'on' if backlog.active else 'off'}"
        f" checksum {backlog.checksum:016x} from {backlog.base}"
    )


class LeaderWorld:
    """A `Leader` whose clock moves only by `tick`."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._new({})

    def _new(self, named: dict[str, str]) -> None:
        self.damaged = False
        source = ids(2)
        settings = LeaderSettings(diskless_delay_ms=0)
        for name, value in named.items():
            if hasattr(settings, name):
                setattr(settings, name, int(value))
        history = History(f"{1:040x}", epoch=int(named.get("epoch", "0")))
        backlog = Backlog(settings.backlog_size_bytes)
        self.leader = Leader(history, backlog, settings, lambda: next(source))
        self.leader.tick(self.now_ms)

    def execute(self, command: Command) -> list[str]:
        said = getattr(self, "do_" + command.verb.replace("-", "_"))(command)
        if said is not None:
            return list(said)
        self.leader.pump(self.now_ms)
        self.leader.invariants()
        if not self.damaged:
            self.leader.backlog.invariants()
        return [show_action(action) for action in self.leader.take_actions()]

    def do_new(self, command: Command) -> None:
        self._new(command.named)

    def do_set(self, command: Command) -> None:
        for name, value in command.named.items():
            setattr(self.leader.settings, name, int(value))

    def do_replconf(self, command: Command) -> None:
        pairs = [word.partition(":") for word in command.words]
        options = tuple((name.encode(), long_ids(value).encode()) for name, _, value in pairs)
        self._receive(ev.ReplconfReceived(command.number("link"), options))

    def do_psync(self, command: Command) -> None:
        replid = long_id(command.text("replid", "?"))
        link, wanted = command.number("link"), command.number("wanted", -1)
        failover = "failover" in command.words
        self._receive(ev.PsyncReceived(link, "10.0.0.1", replid, wanted, failover))

    def do_sync(self, command: Command) -> None:
        self._receive(ev.SyncReceived(command.number("link"), "10.0.0.1"))

    def do_ack(self, command: Command) -> None:
        history = command.named.get("history")
        checksum = None if history is None else int(history, 16)
        link, position = command.number("link"), command.number("position")
        self._receive(ev.AckReceived(link, position, checksum=checksum))

    def do_newline(self, command: Command) -> None:
        self._receive(ev.KeepaliveReceived(command.number("link")))

    def do_pause(self, command: Command) -> None:
        self._receive(ev.LinkPaused(command.number("link")))

    def do_resume(self, command: Command) -> None:
        self._receive(ev.LinkResumed(command.number("link")))

    def do_close(self, command: Command) -> None:
        self._receive(ev.LinkClosed(command.number("link")))

    def do_spooled(self, command: Command) -> None:
        self._receive(ev.SnapshotSpooled(command.number("snapshot"), command.number("length")))

    def do_chunk(self, command: Command) -> None:
        self._receive(ev.SnapshotChunk(command.number("snapshot"), command.data("data")))

    def do_finished(self, command: Command) -> None:
        self._receive(ev.SnapshotFinished(command.number("snapshot")))

    def do_failed(self, command: Command) -> None:
        self._receive(ev.SnapshotFailed(command.number("snapshot"), command.text("reason")))

    def do_flushed(self, command: Command) -> None:
        self.leader.give_up_pass("the data was flushed")

    def do_wait(self, command: Command) -> None:
        timeout_ms = command.number("timeout_ms", 0)
        deadline_ms = self.now_ms + timeout_ms if timeout_ms else None
        position = command.number("position", self.leader.backlog.end)
        count = command.number("count")
        self._receive(ev.WaitStarted(command.number("waiter"), position, count, deadline_ms))

    def do_failover(self, command: Command) -> list[str] | None:
        target = None
        if "host" in command.named:
            target = (command.text("host"), command.number("port"))
        timeout_ms = command.number("timeout_ms", 0) or None
        event = ev.FailoverRequested(target, "force" in command.words, timeout_ms)
        refusal = self.leader.handover.refusal(event)
        if refusal is not None:
            return [f"refused: {refusal}"]
        self._receive(event)
        return None

    def do_abort_failover(self, command: Command) -> None:
        self._receive(ev.FailoverAborted())

    def do_handover_ended(self, command: Command) -> None:
        accepted = command.words == ["accepted"]
        self._receive(ev.HandoverEnded(accepted, command.text("reason", "")))

    def do_append(self, command: Command) -> None:
        data = command.data("data") if "data" in command.named else b"x" * command.number("bytes")
        self.leader.append(data, self.now_ms)

    def do_damage(self, command: Command) -> list[str]:
        """Flips a bit of the sealed frame at a position, in memory."""
        backlog = self.leader.backlog
        at = backlog._index(command.number("position"))
        sealed = bytearray(backlog._sealed[at])
        sealed[-1] ^= 1
        backlog._sealed[at] = bytes(sealed)
        self.damaged = True
        return ["damaged"]

    def do_promote(self, command: Command) -> None:
        self.leader.promote(self.now_ms)

    def do_demote(self, command: Command) -> None:
        self.leader.demote()

    def do_upstream(self, command: Command) -> None:
        self.leader.upstream_connected = command.words == ["up"]

    def do_tick(self, command: Command) -> None:
        self.now_ms += command.number("ms")
        self.leader.tick(self.now_ms)

    def do_show(self, command: Command) -> list[str]:
        leader, backlog = self.leader, self.leader.backlog
        history = leader.history
        lines = [
            _show_history(history),
            _show_backlog(backlog),
            (
                f"failover {leader.handover.state.value}"
                f" good {leader.good_count(self.now_ms)} enough {leader.enough_good(self.now_ms)}"
            ),
        ]
        lines += [
            f"link {p.link} {p.state.value} sent {p.sent_position} acked {p.acked_position}"
            f" lag {leader.lag_bytes(p, self.now_ms)} bytes {leader.lag_ms(p, self.now_ms)} ms"
            for p in leader.followers.values()
        ]
        return lines

    def _receive(self, event: ev.Event) -> None:
        self.leader.receive(event, self.now_ms)


class FollowerWorld:
    """A `Follower` with a data set that is a list of applied bytes.

    A command of its stream ends with `;`: what is behind the last one is not applied.
    """

    def __init__(self) -> None:
        self.now_ms = 0
        self.applied = b""
        self.unfinished = b""
        self.checksum = 0
        self._new({})

    def _new(self, named: dict[str, str]) -> None:
        settings = FollowerSettings(
            password=named.get("password", "").encode(),
            announce_ip=named.get("announce_ip", ""),
            frames_offered=named.get("frames", "yes") == "yes",
        )
        history = History(long_id(named.get("replid", "id:f")), epoch=int(named.get("epoch", "0")))
        position = int(named.get("position", "0"))
        backlog = Backlog(1 << 20, position)
        self.follower = Follower(history, backlog, settings, resumable="replid" in named)

    def execute(self, command: Command) -> list[str]:
        said = getattr(self, "do_" + command.verb.replace("-", "_"))(command)
        if said is not None:
            return list(said)
        lines = []
        while actions := self.follower.take_actions():
            lines += [show_action(action) for action in actions]
            for action in actions:
                self._carry_out(action)
        self.follower.invariants()
        self.follower.backlog.invariants()
        return [*lines, f"({self.follower.state.value})"]

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, act.ApplyStream):
            whole, semicolon, self.unfinished = (self.unfinished + action.data).rpartition(b";")
            self.applied += whole + semicolon
            position = self.follower.received_position - len(self.unfinished)
            self._receive(ev.StreamApplied(position))
        elif isinstance(action, act.StreamReset):
            self.unfinished = b""

    def do_new(self, command: Command) -> None:
        self._new(command.named)

    def do_follow(self, command: Command) -> None:
        handover = "handover" in command.words
        self._receive(ev.FollowRequested("10.0.0.9", 6379, handover))

    def do_unfollow(self, command: Command) -> None:
        self._receive(ev.UnfollowRequested())

    def do_connected(self, command: Command) -> None:
        self._receive(ev.LeaderConnected())

    def do_meet(self, command: Command) -> None:
        """The whole handshake up to our PSYNC, with one of ours or with a stock leader."""
        ours = command.words == ["ours"]
        self._receive(ev.LeaderConnected())
        replies = ["+PONG", "+OK", *(["+OK frames 1", "+OK"] if ours else ["+OK"])]
        for reply in replies:
            self.follower.take_actions()
            self._receive(ev.LeaderBytes(reply.encode() + b"\r\n"))

    def do_unreachable(self, command: Command) -> None:
        self._receive(ev.LeaderUnreachable(command.text("reason")))

    def do_closed(self, command: Command) -> None:
        self._receive(ev.LeaderLinkClosed())

    def do_line(self, command: Command) -> None:
        text = long_ids(command.words[0])
        text = text.replace("HISTORY", f"{self.follower.backlog.checksum:016x}")
        if text.endswith(" SEAL"):
            text = text.removesuffix("SEAL")
            text += f"{crc32c(text.rstrip().encode()):08x}"
        self._receive(ev.LeaderBytes(text.encode() + b"\r\n"))

    def do_bytes(self, command: Command) -> None:
        self._receive(ev.LeaderBytes(command.data("data")))

    def do_frames(self, command: Command) -> None:
        """Sealed stream frames, one per word; `bad` damages a byte of them, `history` is another
        than ours, and what is in `after` has been sent before but did not come."""
        position = command.number("position", self.follower.received_position)
        pending = self.follower.stream.pending
        checksum = pending[-1].history if pending else self.follower.backlog.checksum
        sealed = b""
        kind, epoch = FrameKind.STREAM, command.number("epoch", 0)
        lost = command.text("after", "").encode()
        checksum, position = history_checksum(lost, checksum), position + len(lost)
        for word in command.words:
            body = word.encode()
            checksum = history_checksum(body, checksum)
            if "history" in command.named:
                checksum = int(command.text("history"), 16)
            sealed += seal(kind, epoch, position, self.now_ms, checksum, body)
            position += len(body)
        if "bad" in command.named:
            damaged = bytearray(sealed)
            damaged[command.number("bad")] ^= 0x20
            sealed = bytes(damaged)
        self._receive(ev.LeaderBytes(sealed))

    def do_snapshot(self, command: Command) -> None:
        """Snapshot frames, one per word, and the end frame if told so."""
        sealed, position = b"", command.number("position", 0)
        digest = self.checksum if position else 0
        for word in command.words:
            digest = history_checksum(word.encode(), digest)
            sealed += seal(FrameKind.SNAPSHOT, 0, position, 0, digest, word.encode())
            position += len(word)
        if "end" in command.named:
            sealed += seal(FrameKind.SNAPSHOT_END, 0, position, 0, digest, b"")
        self.checksum = digest
        self._receive(ev.LeaderBytes(sealed))

    def do_loaded(self, command: Command) -> None:
        self._receive(ev.SnapshotLoaded())

    def do_rejected(self, command: Command) -> None:
        self._receive(ev.SnapshotRejected(command.text("reason")))

    def do_prepared(self, command: Command) -> None:
        """The tail has been put aside; the checksum at the fork is `checksum`, from `base`."""
        mark = None
        if "checksum" in command.named:
            mark = HistoryMark(int(command.text("checksum"), 16), command.number("base"))
        refusal, failure = command.text("refusal", ""), command.text("failure", "")
        self._receive(ev.RewindPrepared(mark, refusal, failure))

    def do_wanted(self, command: Command) -> None:
        self._receive(ev.KeysWanted(tuple((0, word.encode()) for word in command.words)))

    def do_values(self, command: Command) -> None:
        """A frame that answers the question of that number, at the stream's present end."""
        values = tuple(KeyValue(0, word.encode(), 0, b"v") for word in command.words)
        number, part = b"%d" % command.number("number"), b"%d" % command.number("part", 0)
        body = pack([b"values", number, part, b"last", pack_values(values)])
        at = self.follower.received_position
        self._receive(ev.LeaderBytes(seal(FrameKind.VERIFY, 3, at, self.now_ms, 0, body)))

    def do_rewound(self, command: Command) -> None:
        self._receive(ev.RewindEnded())

    def do_getack(self, command: Command) -> None:
        self._receive(ev.GetackReceived(command.number("position")))

    def do_tick(self, command: Command) -> None:
        self.now_ms += command.number("ms")
        self.follower.tick(self.now_ms)

    def do_show(self, command: Command) -> list[str]:
        follower, backlog = self.follower, self.follower.backlog
        history, stats = follower.history, follower.stats
        return [
            _show_history(history),
            _show_backlog(backlog),
            (
                f"position {follower.position} received {follower.received_position}"
                f" applied {show_bytes(self.applied)}"
            ),
            (
                f"link {'up' if follower.connected else 'down'} framed {follower.framed}"
                f" rejected {stats.frames_rejected} repaired {stats.frames_repaired}"
                f" diverged {stats.histories_diverged}"
                f" full {stats.full_syncs} partial {stats.partial_syncs}"
            ),
        ]

    def _receive(self, event: ev.Event) -> None:
        self.follower.receive(event, self.now_ms)


class PairWorld:
    """Miniature nodes a, b, c and the wires between them; says what the nodes log."""

    def __init__(self) -> None:
        self.world = Miniature()

    def execute(self, command: Command) -> list[str]:
        said = getattr(self, "do_" + command.verb.replace("-", "_"))(command)
        if said is not None:
            return list(said)
        lines, self.world.log = self.world.log, []
        return [short_ids(line) for line in lines]

    def do_new(self, command: Command) -> None:
        self.world = Miniature(framed=command.text("framed", "abc"))
        for node in self.world.nodes.values():
            node.leader.settings.diskless = command.text("diskless", "yes") == "yes"
            node.leader.settings.diskless_delay_ms = command.number("delay_ms", 0)

    def do_add(self, command: Command) -> None:
        for value in command.words[1:]:
            assert self._node(command).add(value.encode())

    def do_follow(self, command: Command) -> None:
        self._node(command).follow(self.world.nodes[command.words[1]])

    def do_promote(self, command: Command) -> None:
        self._node(command).promote()

    def do_failover(self, command: Command) -> None:
        self._node(command).serve_event(ev.FailoverRequested())

    def do_cut(self, command: Command) -> None:
        self._wire(command).cut()

    def do_flip(self, command: Command) -> None:
        """Damages one bit of what the leader sends next."""
        self._wire(command).flip_bit = command.number("bit")

    def do_slow(self, command: Command) -> None:
        wire = self._wire(command)
        wire.leader.serve_event(ev.LinkPaused(wire.link))

    def do_quick(self, command: Command) -> None:
        wire = self._wire(command)
        wire.leader.serve_event(ev.LinkResumed(wire.link))

    def do_step(self, command: Command) -> None:
        for _ in range(command.number("times", 1)):
            self.world.step()

    def do_run(self, command: Command) -> None:
        self.world.run(command.number("ms", 0))

    def do_show(self, command: Command) -> list[str]:
        lines = []
        for node in self.world.nodes.values():
            role = "leader" if node.leader.leading else f"follower of {node.follower.host}"
            served, followed = node.leader.stats, node.follower.stats
            values = b" ".join(node.values).decode()
            lines.append(
                f"{node.name} {role}, link {node.follower.state.value}: {values or 'empty'}"
            )
            lines.append(
                f"  position {node.follower.position}"
                f" full {served.sync_full} partial {served.sync_partial_ok}"
                f" frames refused {followed.frames_rejected}"
            )
        return lines

    def _node(self, command: Command) -> Node:
        return self.world.nodes[command.words[0]]

    def _wire(self, command: Command) -> Wire:
        wire = self._node(command).wire
        assert wire is not None
        return wire


__all__ = ["FollowerWorld", "LeaderWorld", "PairWorld"]
