"""Replication between real processes: ours with ours, and with redis-server on either side."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cache_server.cli.admin import app as cachectl
from replication.frames import HEADER_BYTES, MAGIC, parse_header
from tests.integration.processes import OURS, REDIS, Process, needs_redis, wait_for

pytestmark = pytest.mark.integration

#: How long the noisy wire is under load: 60 for a longer look.
NOISE_S = float(os.environ.get("TEST_NOISE_S", "4"))
#: One frame in so many is damaged.
NOISE_FRAMES = int(os.environ.get("TEST_NOISE_FRAMES", "100"))

#: Keys that a verification looks at: 1,000,000 for a longer look.
VERIFY_KEYS = int(os.environ.get("TEST_VERIFY_KEYS", "100000"))

FAST = ["repl-diskless-sync-delay 0", 'save ""', "repl-ping-replica-period 1"]


class Wire:
    """A TCP relay to a leader. It can be cut, and can flip a bit in what the leader sends."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self.damage_next = False
        self.damaged = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._sockets += [near, far]
            for pair in ((near, far, False), (far, near, True)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if down and self.damage_next and data.startswith(b"CF"):
                    self.damage_next = False
                    self.damaged += 1
                    data = data[:-1] + bytes([data[-1] ^ 1])
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def cut(self) -> None:
        """Ends every connection; new ones are accepted."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def close(self) -> None:
        """Ends everything."""
        self._listener.close()
        self.cut()


class NoisyWire(Wire):
    """Flips one byte, anywhere in it, of one in NOISE_FRAMES frames that the leader sends."""

    def __init__(self, target: int) -> None:
        self.noisy = False
        self.frames = 0
        self._rng = random.Random(7)
        super().__init__(target)

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        if not down:
            super()._pump(source, sink, down)
            return
        buffer, framed = b"", False
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                buffer += data
                if not framed:
                    at = buffer.find(MAGIC)
                    framed = at >= 0
                    at = at if framed else len(buffer)
                    sink.sendall(buffer[:at])
                    buffer = buffer[at:]
                out, buffer = self._frames_of(buffer) if framed else (b"", buffer)
                sink.sendall(out)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def _frames_of(self, buffer: bytes) -> tuple[bytes, bytes]:
        out, at = [], 0
        while len(buffer) - at >= HEADER_BYTES:
            end = at + HEADER_BYTES + parse_header(buffer, at).body_bytes
            if end > len(buffer):
                break
            frame = bytearray(buffer[at:end])
            self.frames += 1
            if self.noisy and self._rng.randrange(NOISE_FRAMES) == 0:
                frame[self._rng.randrange(len(frame))] ^= 1 << self._rng.randrange(8)
                self.damaged += 1
            out.append(bytes(frame))
            at = end
        return b"".join(out), buffer[at:]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    """Starts nodes on request: `nodes(command, *lines)`."""
    started: list[Process] = []

    def start(command: list[str], *lines: str) -> Process:
        node = Process(command, tmp_path / f"node{len(started)}", [*FAST, *lines])
        started.append(node)
        node.start()
        return node

    yield start
    for node in started:
        node.kill()


@pytest.fixture
def wires() -> Iterator[Any]:
    """Makes wires on request: `wires(port)`."""
    made: list[Wire] = []

    def make(port: int) -> Wire:
        made.append(Wire(port))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


def follow(port: int) -> str:
    return f"replicaof 127.0.0.1 {port}"


def wait_in_sync(leader: Process, *followers: Process) -> None:
    def in_sync() -> bool:
        end = leader.info()["master_repl_offset"]
        return all(
            each.info().get("master_link_status") == "up"
            and each.info()["slave_repl_offset"] == end
            for each in followers
        )

    wait_for(in_sync, "followers to be in sync")


def contents(node: Process) -> dict[str, Any]:
    """Every key of database 0 with its value and whether it expires."""
    client = node.client()
    readers = {
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": lambda key: sorted(client.smembers(key)),
        "hash": client.hgetall,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    found = {}
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        if kind in readers:
            found[key] = (readers[kind](key), client.ttl(key) >= 0)
    return found


def write_some(client: Any, seed: int, count: int = 300) -> None:
    """Writes of all types whose effects followers must see alike."""
    draw = random.Random(seed)
    for at in range(count):
        number = draw.randrange(20)
        pipe = client.pipeline(transaction=draw.random() < 0.2)
        pipe.set(f"s{number}", draw.random(), ex=draw.choice([None, 1000]))
        pipe.incr(f"n{number}")
        pipe.rpush(f"l{number}", at, at + 1)
        pipe.lpop(f"l{draw.randrange(20)}")
        pipe.sadd(f"set{number}", *range(number + 1))
        pipe.spop(f"set{draw.randrange(20)}")
        pipe.hincrbyfloat(f"h{number}", "field", 0.1)
        pipe.zadd(f"z{number}", {str(at % 7): draw.random()})
        pipe.zpopmin(f"z{draw.randrange(20)}")
        pipe.delete(f"s{draw.randrange(20)}")
        pipe.execute()


def write_until(node: Process, seed: int, until: float) -> None:
    while time.monotonic() < until:
        write_some(node.client(), seed, 20)
        seed += 100


@pytest.mark.parametrize(
    ("leader_command", "follower_command"),
    [
        (OURS, OURS),
        pytest.param(OURS, REDIS, marks=needs_redis),
        pytest.param(REDIS, OURS, marks=needs_redis),
    ],
    ids=["ours-ours", "ours-redis", "redis-ours"],
)
def test_full_sync_stream_and_partial_resync(
    nodes: Any, wires: Any, leader_command: list[str], follower_command: list[str]
) -> None:
    leader = nodes(leader_command)
    write_some(leader.client(), 1)
    wire = wires(leader.port)
    follower = nodes(follower_command, follow(wire.port))
    wait_in_sync(leader, follower)
    assert contents(follower) == contents(leader)
    for seed in range(2, 5):
        wire.cut()
        write_some(leader.client(), seed)
        wait_in_sync(leader, follower)
    assert contents(follower) == contents(leader)
    stats = leader.info("stats")
    assert stats["sync_full"] == 1
    assert stats["sync_partial_ok"] >= 1


def test_between_two_of_ours_the_stream_is_framed(nodes: Any) -> None:
    leader = nodes(OURS)
    follower = nodes(OURS, follow(leader.port))
    wait_in_sync(leader, follower)
    assert follower.info()["cache_link_framed"] == 1
    assert follower.info()["cache_history_checksum"] == leader.info()["cache_history_checksum"]


def test_damage_on_the_wire_is_found_and_costs_no_full_sync(nodes: Any, wires: Any) -> None:
    leader = nodes(OURS)
    wire = wires(leader.port)
    follower = nodes(OURS, follow(wire.port))
    wait_in_sync(leader, follower)
    client = leader.client()
    for at in range(10):
        wire.damage_next = True
        client.set(f"damaged{at}", at)
        wait_for(lambda: not wire.damage_next, "damage to be done")
        wait_in_sync(leader, follower)
    assert contents(follower) == contents(leader)
    assert follower.info()["cache_frames_rejected"] == wire.damaged == 10
    stats = leader.info("stats")
    assert (stats["sync_full"], stats["sync_partial_ok"]) == (1, 0)
    assert leader.info()["cache_resends"] >= 10
    assert "asking again for bytes" in follower.log()


def test_a_noisy_wire_under_load_costs_what_it_damages_and_no_resync(nodes: Any) -> None:
    # The wire is slow beside the writers: what it has not passed on yet is still asked for.
    leader = nodes(OURS, "repl-backlog-size 64mb")
    wire = NoisyWire(leader.port)
    follower = nodes(OURS, follow(wire.port))
    wait_in_sync(leader, follower)
    wire.noisy = True
    until = time.monotonic() + NOISE_S
    writers = [threading.Thread(target=write_until, args=(leader, n, until)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wire.noisy = False
    wait_in_sync(leader, follower)
    told, stats = follower.info(), leader.info("stats")
    print(f"{wire.frames} frames, {wire.damaged} damaged, {told['cache_frames_rejected']} refused,")
    print(f"{leader.info()['cache_bytes_resent']} bytes sent again")
    assert wire.damaged > 0
    # Two damaged in a row may be found as one.
    assert 0.9 * wire.damaged <= told["cache_frames_rejected"] <= wire.damaged
    assert (stats["sync_full"], stats["sync_partial_ok"]) == (1, 0)
    assert contents(follower) == contents(leader)
    wire.close()


def verified(leader: Process, passes: int) -> dict[str, Any]:
    """What VERIFY STATUS says when so many passes have ended."""

    def ended() -> dict[str, Any] | None:
        flat = leader.client().execute_command("VERIFY", "STATUS")
        status = dict(zip(flat[::2], flat[1::2], strict=True))
        return status if status["state"] == "idle" and status["passes"] >= passes else None

    return wait_for(ended, "the verification to end", 120)


def test_a_corrupted_key_is_named_and_repaired_while_writes_go_on(nodes: Any) -> None:
    debug = "enable-debug-command yes"
    leader = nodes(OURS, debug)
    leader.client(socket_timeout=60).execute_command("DEBUG", "POPULATE", VERIFY_KEYS)
    follower = nodes(OURS, debug, follow(leader.port))
    wait_for(lambda: follower.info()["master_link_status"] == "up", "the full sync", 120)
    wait_in_sync(leader, follower)
    follower.client().execute_command("DEBUG", "CORRUPT", "key:77")
    until = time.monotonic() + 2
    writer = threading.Thread(target=write_until, args=(leader, 1, until))
    writer.start()
    leader.client().execute_command("VERIFY", "START")
    found = verified(leader, 1)
    writer.join()
    replica = found["last-replicas"][0]
    replica = dict(zip(replica[::2], replica[1::2], strict=True))
    assert [key for _, key, _ in replica["keys"]] == ["key:77"]
    assert (replica["keys-differing"], replica["keys-repaired"]) == (1, 1)
    assert follower.client().get("key:77") == "value:77"
    data_bytes = VERIFY_KEYS * len("key:77777value:77777")
    sent = found["last-bytes-sent"] + found["last-bytes-received"]
    print(f"{found['last-duration-ms']} ms, {sent} bytes for {data_bytes} bytes of data")
    assert found["last-bytes-sent"] < 0.01 * data_bytes
    assert leader.info()["cache_verify_alarm"] == 1
    assert "key b'key:77' of database 0 differs" in leader.log()
    leader.client().execute_command("VERIFY", "START")
    assert verified(leader, 2)["last-same"] == 1
    assert leader.info()["cache_verify_alarm"] == 0
    assert leader.info("stats")["sync_full"] == 1
    follower.client().execute_command("DEBUG", "CORRUPT", "key:78")
    for code, shown in ((3, "key:78"), (0, "same")):
        told = CliRunner().invoke(cachectl, ["verify", "--node", f"127.0.0.1:{leader.port}"])
        assert (told.exit_code, shown in told.output) == (code, True), told.output


@needs_redis
def test_a_chain_of_both_kinds_relays_every_write(nodes: Any) -> None:
    stock = nodes(REDIS)
    write_some(stock.client(), 1)
    ours = nodes(OURS, follow(stock.port))
    second_stock = nodes(REDIS, follow(ours.port))
    second_ours = nodes(OURS, follow(second_stock.port))
    wait_in_sync(stock, ours, second_stock, second_ours)
    write_some(stock.client(), 2)
    wait_in_sync(stock, ours, second_stock, second_ours)
    assert contents(stock) == contents(ours) == contents(second_stock) == contents(second_ours)


def test_a_full_sync_under_writes_ends_equal(nodes: Any) -> None:
    leader = nodes(OURS)
    client = leader.client()
    pipe = client.pipeline(transaction=False)
    for at in range(4_000):
        pipe.set(f"key{at}", "x" * 50)
    pipe.execute()
    stop = threading.Event()

    def write() -> None:
        own, seed = leader.client(), 0
        while not stop.is_set():
            seed += 1
            write_some(own, seed, 20)
            own.delete(f"key{seed}")
            own.append(f"key{4_000 - seed}", "more")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        followers = [nodes(OURS, follow(leader.port)) for _ in range(2)]
        for each in followers:
            wait_for(lambda each=each: each.info()["master_link_status"] == "up", "the link")
    finally:
        stop.set()
        writer.join()
    wait_in_sync(leader, *followers)
    assert contents(followers[0]) == contents(leader) == contents(followers[1])


def test_wait_counts_followers_and_gives_up_in_time(nodes: Any) -> None:
    leader = nodes(OURS)
    followers = [nodes(OURS, follow(leader.port)) for _ in range(2)]
    wait_in_sync(leader, *followers)
    client = leader.client()
    client.set("a", 1)
    began = time.monotonic()
    assert client.wait(2, 5000) == 2
    assert time.monotonic() - began < 0.5
    client.set("a", 2)
    assert client.wait(3, 200) == 2
    assert client.wait(0, 0) == 2


def test_a_planned_failover_loses_nothing_and_needs_no_full_sync(nodes: Any) -> None:
    first = nodes(OURS)
    second = nodes(OURS, follow(first.port))
    wait_in_sync(first, second)
    accepted: list[int] = []
    stop = threading.Event()
    lead = [first, second]

    def write() -> None:
        number, clients = 0, [each.client() for each in lead]
        while not stop.is_set():
            number += 1
            for client in clients:
                with contextlib.suppress(Exception):
                    client.set(f"w{number}", number)
                    accepted.append(number)
                    break

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(10):
            leader, follower = lead[turn % 2], lead[1 - turn % 2]
            leader.client().execute_command("FAILOVER")
            wait_for(lambda f=follower: f.info()["role"] == "master", "the promotion")
            wait_for(lambda d=leader: d.info().get("master_link_status") == "up", "the way back")
    finally:
        stop.set()
        writer.join()
    leader = next(each for each in lead if each.info()["role"] == "master")
    follower = next(each for each in lead if each is not leader)
    wait_in_sync(leader, follower)
    held = contents(leader)
    assert accepted
    assert [number for number in accepted if f"w{number}" not in held] == []
    assert contents(follower) == held
    assert first.info("stats")["sync_full"] + second.info("stats")["sync_full"] == 1


def test_a_restarted_follower_resumes_from_its_snapshot(nodes: Any) -> None:
    leader = nodes(OURS)
    follower = nodes(OURS, follow(leader.port), "save 3600 1")
    write_some(leader.client(), 1)
    wait_in_sync(leader, follower)
    follower.send(15)
    assert follower.process is not None
    follower.process.wait(10)
    write_some(leader.client(), 2)
    follower.start()
    wait_in_sync(leader, follower)
    assert contents(follower) == contents(leader)
    assert leader.info("stats")["sync_full"] == 1


def test_a_pause_on_a_follower_holds_the_stream_until_it_ends(nodes: Any) -> None:
    leader = nodes(OURS)
    follower = nodes(OURS, follow(leader.port))
    wait_in_sync(leader, follower)
    follower.client().execute_command("CLIENT", "PAUSE", "60000", "WRITE")
    client = leader.client()
    client.set("short", "1", px=100)
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", 1).incr("a").execute()
    written = leader.info("replication")["master_repl_offset"]

    def received() -> bool:
        return follower.info("replication")["slave_read_repl_offset"] >= written

    wait_for(received, "the follower to have what was written")
    assert follower.client().get("a") is None
    follower.client().execute_command("CLIENT", "UNPAUSE")
    wait_in_sync(leader, follower)
    assert follower.client().get("a") == "2"
    wait_for(lambda: client.get("short") is None, "the key to expire")
    wait_in_sync(leader, follower)
    assert follower.client().dbsize() == leader.client().dbsize() == 1


def test_lag_and_the_progress_of_a_full_sync_are_told_on_both_sides(nodes: Any) -> None:
    leader = nodes(OURS, "enable-debug-command yes", "rdb-key-save-delay 2000")
    leader.client().execute_command("DEBUG", "POPULATE", 1000)
    follower = nodes(OURS, follow(leader.port))

    def half_way() -> bool:
        here, there = leader.info(), follower.info()
        return here.get("cache_sync_percent", 0) > 0 and there.get("cache_sync_percent", 0) > 0

    wait_for(half_way, "both sides to tell how far the full sync is")
    assert leader.info()["cache_sync_percent"] < 100
    wait_in_sync(leader, follower)
    assert "cache_sync_percent" not in leader.info()
    leader.client().set("k", "v")
    wait_in_sync(leader, follower)
    told = follower.info()
    assert told["cache_lag_ms"] < 5000
    assert told["cache_lag_bytes"] == 0
    wait_for(lambda: leader.info()["cache_follower0"]["lag_bytes"] == 0, "the acknowledgement")
    assert leader.info()["cache_follower0"]["lag_ms"] == 0


@pytest.mark.parametrize("command", ["PING", "GET foo", "SLOWLOG GET"])
def test_a_follower_that_wants_a_reply_is_disconnected(nodes: Any, command: str) -> None:
    leader = nodes(OURS)
    with socket.create_connection(("127.0.0.1", leader.port), 5) as link:
        link.sendall(b"PSYNC ? -1\r\n")
        assert link.recv(4096).startswith(b"+FULLRESYNC")
        link.sendall(command.encode() + b"\r\n")
        while link.recv(65536):
            pass
    name = command.lower().replace(" ", "|") if "SLOWLOG" in command else command.split()[0].lower()
    assert f"Replica generated a reply to command '{name}', disconnecting it" in leader.log()
