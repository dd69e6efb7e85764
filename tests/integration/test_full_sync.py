"""Full syncs between real processes: over a slow link, over a bad one, and in company."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replication.frames import HEADER_BYTES, MAGIC, FrameKind, parse_header
from tests.integration.processes import OURS, REDIS, Process, needs_redis, wait_for

pytestmark = pytest.mark.integration

#: Keys of the data set, of 200 bytes each: 1,000,000 for a longer look.
KEYS = int(os.environ.get("TEST_FULL_SYNC_KEYS", "40000"))
WAIT_S = 60 + KEYS / 1000
#: So much comes over the link for one write of 100 bytes.
LINK_BYTES_PER_WRITE = 200
#: On the bad link, one snapshot frame in so many is damaged, and one stream frame in ten times.
DAMAGED_OF = 6
SETTINGS = [
    "repl-diskless-sync-delay 0",
    'save ""',
    "enable-debug-command yes",
    "rdbcompression no",
]
#: More than what is written while the kernel's buffers empty, and less than while a snapshot is
#: sent: a stream that waits for its end runs over it.
LIMIT = "client-output-buffer-limit replica 2mb 0 0"


class SlowLink:
    """A relay that a leader writes through no faster than its writer writes: after each piece
    `passed(bytes)` is told, and the next waits until it returns. It may be bad, too."""

    def __init__(self, target: int, passed: Callable[[int], None], bad: bool = False) -> None:
        self._target, self._passed, self._bad = target, passed, bad
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._frames = dict.fromkeys(FrameKind, 0)
        self.stop_writing: Callable[[], None] = lambda: None
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket()
                self._sockets += [near, far]
                # Little room, so that the leader feels how slow the link is.
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                far.connect(("127.0.0.1", self._target))
                threading.Thread(target=self._up, args=(near, far), daemon=True).start()
                threading.Thread(target=self._down, args=(far, near), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)

    def _down(self, far: socket.socket, near: socket.socket) -> None:
        buffer, framed = b"", False
        with contextlib.suppress(OSError, ValueError):
            while data := far.recv(32768):
                if self._bad:
                    buffer += data
                    at = 0 if framed else buffer.find(MAGIC)
                    framed = at >= 0
                    data, buffer = self._whole(buffer, at) if framed else (buffer, b"")
                near.sendall(data)
                self._passed(len(data))
        for end in (near, far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _whole(self, buffer: bytes, at: int) -> tuple[bytes, bytes]:
        out = [buffer[:at]]
        while len(buffer) - at >= HEADER_BYTES:
            header = parse_header(buffer, at)
            end = at + HEADER_BYTES + header.body_bytes
            if end > len(buffer):
                break
            frame = bytearray(buffer[at:end])
            self._frames[header.kind] += 1
            number = self._frames[header.kind]
            of = DAMAGED_OF if header.kind is FrameKind.SNAPSHOT else 10 * DAMAGED_OF
            if number % of == of - 1:
                frame[number * 7919 % len(frame)] ^= 1 << number % 8
            out.append(bytes(frame))
            at = end
        return b"".join(out), buffer[at:]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(60)
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    """Starts nodes and links on request; ends them."""
    ends: list[Callable[[], None]] = []

    def node(command: list[str], *lines: str) -> Process:
        made = Process(command, tmp_path / f"node{len(ends)}", [*SETTINGS, *lines])
        ends.append(made.kill)
        made.start()
        return made

    def link(leader: Process, bad: bool = False) -> SlowLink:
        writer = Writer(leader)
        made = SlowLink(leader.port, writer.passed, bad)
        made.stop_writing = writer.stop
        ends.extend([writer.close, made.close])
        return made

    node.link = link  # type: ignore[attr-defined]
    yield node
    for end in reversed(ends):
        end()


def fill(leader: Process) -> None:
    with contextlib.closing(leader.client(socket_timeout=60)) as client:
        client.execute_command("DEBUG", "POPULATE", KEYS, "key", 200)


class Writer:
    """Writes as much as the link's speed allows, over the whole data set."""

    def __init__(self, leader: Process) -> None:
        self._link = socket.create_connection(("127.0.0.1", leader.port), 60)
        self._answers = self._link.makefile("rb")
        self._bytes = self._writes = 0
        self._stopped = False
        self._turn = threading.Lock()

    def passed(self, count: int) -> None:
        """So many bytes have come over the link."""
        with self._turn:
            if self._stopped:
                return
            self._bytes += count
            due = self._bytes // LINK_BYTES_PER_WRITE
            numbers, self._writes = range(self._writes, due), due
            self._link.sendall(b"".join(self._request(number) for number in numbers))
            for _ in numbers:
                assert self._answers.readline() == b"+OK\r\n"

    def stop(self) -> None:
        """Nothing is written from here on."""
        with self._turn:
            self._stopped = True

    @staticmethod
    def _request(number: int) -> bytes:
        key = b"key:%d" % (number * 7919 % KEYS)
        return b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$60\r\n%60d\r\n" % (len(key), key, number)

    def close(self) -> None:
        """Ends the connection."""
        self._answers.close()
        self._link.close()


def wait_equal(leader: Process, follower: Process, link: SlowLink | None = None) -> None:
    def is_up() -> bool:
        return bool(follower.info()["master_link_status"] == "up")

    wait_for(is_up, f"the follower to have the data: {follower.log()}", WAIT_S)
    if link is not None:
        link.stop_writing()

    def caught_up() -> bool:
        end = leader.info()["master_repl_offset"]
        return (
            follower.info()["master_link_status"] == "up"
            and follower.info()["slave_repl_offset"] == end
        )

    wait_for(caught_up, f"the follower to catch up: {follower.log()}", WAIT_S)
    assert digest(leader) == digest(follower)


def digest(node: Process) -> Any:
    with contextlib.closing(node.client(socket_timeout=60)) as client:
        return client.execute_command("DEBUG", "DIGEST")


@pytest.mark.parametrize(
    "command", [OURS, pytest.param(REDIS, marks=needs_redis)], ids=["ours", "redis"]
)
def test_a_slow_follower_under_writes_completes_the_first_time(
    started: Any, command: list[str]
) -> None:
    # A stock follower is sent the stream behind its snapshot: it needs the room for that.
    leader = started(OURS, "repl-backlog-size 64kb", LIMIT if command is OURS else "")
    fill(leader)
    link = started.link(leader)
    follower = started(command, f"replicaof 127.0.0.1 {link.port}")
    wait_equal(leader, follower, link)
    assert leader.info("stats")["sync_full"] == 1


def test_damage_in_a_snapshot_costs_what_was_damaged(started: Any) -> None:
    leader = started(OURS, LIMIT)
    fill(leader)
    link = started.link(leader, True)
    follower = started(OURS, f"replicaof 127.0.0.1 {link.port}")
    wait_equal(leader, follower, link)
    assert leader.info("stats")["sync_full"] == 1
    assert follower.info()["cache_frames_repaired"] > 0
    assert "Damage in the snapshot from the master" in (follower.folder / "output.log").read_text()


def test_followers_that_ask_together_share_a_pass(started: Any) -> None:
    leader = started(OURS)
    with contextlib.closing(leader.client()) as client:
        client.config_set("repl-diskless-sync-delay", 3600)
        client.config_set("repl-diskless-sync-max-replicas", 2)
    fill(leader)
    followers = [started(OURS, f"replicaof 127.0.0.1 {leader.port}") for _ in range(2)]
    for follower in followers:
        wait_equal(leader, follower)
    log = (leader.folder / "output.log").read_text()
    assert log.count("Starting BGSAVE for SYNC") == 1
