"""The log in real processes: peers read it, a full disk, and who is killed comes back whole."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.processes import OURS, REDIS, Process, needs, needs_redis, wait_for

pytestmark = pytest.mark.integration

SETTINGS = ["appendonly yes", "save ''", "enable-debug-command yes", "repl-diskless-sync-delay 0"]
MANIFEST = "appendonlydir/appendonly.aof.manifest"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    """Makes processes that end with the test."""
    made: list[Process] = []

    def make(command: list[str], *lines: str, folder: str = "") -> Process:
        where = tmp_path / (folder or f"node{len(made)}")
        made.append(Process(command, where, [*SETTINGS, *lines]))
        return made[-1]

    yield make
    for node in made:
        node.kill()


def fill(node: Process) -> None:
    """Every type, several databases, a transaction, expiries, and a value of many frames."""
    for index in (0, 3):
        client = node.client(db=index)
        pipe = client.pipeline(transaction=True)
        pipe.set("s", "text").incr("n").rpush("l", *range(200)).sadd("t", 1, 2, "x")
        pipe.hset("h", mapping={"a": 1}).zadd("z", {"m": 1.5}).xadd("x", {"f": "v"}, id="1-1")
        pipe.set("v", 1, px=10_000_000)
        pipe.execute()
        client.set("big", random.Random(1).randbytes(100_000).hex())


def digest(node: Process) -> str:
    return str(node.client().execute_command("DEBUG", "DIGEST"))


def contents(node: Process) -> dict[tuple[int, str], Any]:
    """Every key of the databases that `fill` uses, with its value as commands show it."""
    readers: dict[str, Any] = {
        "string": lambda client, key: client.get(key),
        "list": lambda client, key: client.lrange(key, 0, -1),
        "set": lambda client, key: sorted(client.smembers(key)),
        "hash": lambda client, key: client.hgetall(key),
        "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
        "stream": lambda client, key: client.xrange(key),
    }
    found = {}
    for index in (0, 3):
        client = node.client(db=index)
        for key in client.scan_iter():
            value = readers[client.type(key)](client, key)
            found[index, key] = (value, client.pexpiretime(key))
    return found


@needs_redis
@needs("redis-check-aof")
@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_stock_programs_read_our_log_and_we_read_theirs(nodes: Any, preamble: str) -> None:
    ours = nodes(OURS, f"aof-use-rdb-preamble {preamble}", folder="ours")
    ours.start()
    client = ours.client()
    fill(ours)
    client.execute_command("BGREWRITEAOF")
    wait_for(lambda: ours.info("persistence")["aof_rewrite_in_progress"] == 0, "the rewrite")
    client.incr("n")
    client.set("big", "y" * 50_000)
    wanted = contents(ours)
    ours.kill()
    path = ours.folder / MANIFEST
    checked = subprocess.run(["redis-check-aof", path], capture_output=True, text=True, check=False)
    assert "All AOF files and manifest are valid" in checked.stdout
    stock = nodes(REDIS, "aof-timestamp-enabled yes", folder="stock")
    shutil.copytree(ours.folder / "appendonlydir", stock.folder / "appendonlydir")
    stock.start()
    wait_for(lambda: stock.client().get("s") == "text", "the log to be loaded")
    assert contents(stock) == wanted
    stock.client().rpush("l", "more")
    wanted = contents(stock)
    stock.kill()
    back = nodes(OURS, folder="back")
    shutil.copytree(stock.folder / "appendonlydir", back.folder / "appendonlydir")
    back.start()
    wait_for(lambda: back.client().get("s") == "text", "the log to be loaded")
    assert contents(back) == wanted


def test_a_file_that_may_not_grow_refuses_writes_until_it_may(nodes: Any) -> None:
    node = nodes(OURS, "appendfsync always", "auto-aof-rewrite-percentage 0")
    node.start()
    assert node.process is not None
    client = node.client()
    client.set("before", 1)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    patient = node.client(socket_timeout=30)
    waiting = threading.Thread(target=lambda: patient.set("big", "x" * 30_000))
    waiting.start()
    wait_for(lambda: node.info("persistence")["aof_last_write_status"] == "err", "the refusal")
    with pytest.raises(redis.ResponseError, match="MISCONF Errors writing to the AOF file"):
        client.set("after", 1)
    assert client.get("before") == "1"
    assert waiting.is_alive(), "what is not on the disk was acknowledged"
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, unlimited)
    waiting.join(10)
    assert not waiting.is_alive()
    client.set("after", 1)
    wanted = digest(node)
    node.kill()
    node.start()
    wait_for(lambda: node.client().get("before"), "the log to be loaded")
    assert digest(node) == wanted


class Load(threading.Thread):
    """Writes numbers to keys of its own, one after the other, and knows which were acknowledged."""

    def __init__(self, node: Process, name: str) -> None:
        super().__init__(daemon=True)
        self.node = node
        self.key = name
        self.acknowledged = 0
        self.over = threading.Event()

    def run(self) -> None:
        client, number = self.node.client(), 0
        while not self.over.is_set():
            number += 1
            try:
                client.rpush(self.key, number)
                client.set(f"{self.key}:{number % 500}", "v" * random.choice([1, 100, 20_000]))
                self.acknowledged = number
            except (redis.RedisError, OSError):
                self.over.wait(0.01)

    def missing(self) -> int:
        """How many acknowledged numbers the leader does not have."""
        kept = {int(value) for value in self.node.client().lrange(self.key, 0, -1)}
        return 0 if self.acknowledged in kept else 1


def linked(follower: Process) -> bool:
    """Whether the stream flows to the follower."""
    return bool(follower.info().get("master_link_status") == "up")


@pytest.mark.slow
def test_killed_together_or_apart_they_resume_and_nothing_acknowledged_is_lost(
    nodes: Any, pytestconfig: pytest.Config
) -> None:
    rounds = int(pytestconfig.getoption("--kill-rounds"))
    rng = random.Random(rounds)
    leader = nodes(OURS, "appendfsync always", "repl-backlog-size 1gb")
    follower = nodes(OURS, "appendfsync always", f"replicaof 127.0.0.1 {leader.port}")
    leader.start()
    follower.start()
    wait_for(lambda: linked(follower), "the first synchronization")
    loads = [Load(leader, f"load{number}") for number in range(3)]
    for load in loads:
        load.start()
    full = leader.info("stats")["sync_full"]
    for _ in range(rounds):
        loads[0].over.wait(rng.uniform(0.05, 0.4))
        killed = rng.choice([[leader], [follower], [leader, follower], [follower, leader]])
        for node in killed:
            node.kill()
        for node in killed:
            node.start()
        wait_for(lambda: linked(follower), f"the link to come back: {follower.log()}")
        if rng.random() < 0.2:  # the next kill may fall into it, and the log does not grow for ever
            rng.choice([leader, follower]).client().bgrewriteaof()
        full = 0 if leader in killed else full
        assert leader.info("stats")["sync_full"] == full
    for load in loads:
        load.over.set()
        load.join(10)
    assert [load.missing() for load in loads] == [0, 0, 0]
    assert all(load.acknowledged for load in loads)
    wait_for(lambda: digest(leader) == digest(follower), "both to be the same")


def lose_the_end(node: Process, frames: int) -> None:
    """What a machine without power does to a log that was not synced: the last frames are gone, and
    the system is another one (here: the file is)."""
    (path,) = (node.folder / "appendonlydir").glob("*.incr.aof")
    kept = path.read_bytes()
    for _ in range(frames):
        kept = kept[: kept.rindex(b"#CF:")]
    copy = path.with_suffix(".copy")
    copy.write_bytes(kept)
    copy.replace(path)


@pytest.mark.parametrize("writes_since", [0, 3, 60])
def test_a_follower_that_has_more_than_its_restarted_leader_keeps_the_rest_in_a_file(
    nodes: Any, writes_since: int
) -> None:
    leader = nodes(OURS, folder="leader")
    follower = nodes(OURS, f"replicaof 127.0.0.1 {leader.port}", folder="follower")
    leader.start()
    follower.start()
    wait_for(lambda: linked(follower), "the first synchronization")
    client = leader.client(socket_timeout=60)
    for number in range(30):
        client.set(f"key:{number}", "before")
    assert client.wait(1, 0) == 1
    client.close()
    follower.kill()
    leader.kill()
    lose_the_end(leader, 11)
    leader.start()
    wait_for(lambda: leader.client().get("key:0") == "before", "the log to be loaded")
    lost = [number for number in range(30) if leader.client().get(f"key:{number}") is None]
    assert lost[-1] == 29
    assert len(lost) < 12
    for number in range(writes_since):
        leader.client().set(f"key:{number}", "since")
    follower.start()
    wait_for(lambda: linked(follower), f"the link to come back: {follower.log()}")
    wait_for(lambda: digest(follower) == digest(leader), "both to be the same")
    assert leader.info("stats")["sync_full"] == 0
    (kept,) = follower.folder.glob("rollback-*.aof")
    for number in range(30):
        write = f"key:{number}\r\n$6\r\nbefore\r\n".encode()
        assert (write in kept.read_bytes()) == (number in lost)
