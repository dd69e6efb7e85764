"""A disk that is really full, under each of the files that are written: nothing acknowledged is
lost, writes are refused where they could be, and service resumes when there is room.

The disk is a small tmpfs of the test's own, so these run as root only."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cache_server.disk import Disk
from cache_server.persistence.rollback import RollbackReader
from tests.integration.processes import OURS, Process, free_port, wait_for

pytestmark = pytest.mark.integration

DISK_BYTES = 24 << 20
SETTINGS = [
    "repl-diskless-sync-delay 0",
    "enable-debug-command yes",
    "rdbcompression no",
    "auto-aof-rewrite-percentage 0",
    "logfile server.log",
]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for it, also on a busy machine."""
    return wait_for(condition, what, 60)


class SmallDisk:
    """A file system with room for little, and a file that takes the rest of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, left_bytes: int = 0) -> None:
        """Leaves room for so much and no more."""
        self._filler.unlink(missing_ok=True)
        with self._filler.open("wb", buffering=0) as file:
            block = bytes(4096)
            try:
                while file.write(block) == len(block):
                    pass
            except OSError:
                pass
            file.truncate(max(0, file.tell() - left_bytes))

    def make_room(self) -> None:
        """The disk is not full any more."""
        self._filler.unlink()

    def log(self) -> str:
        """What the server in it has said, as far as there was room."""
        return (self.path / "server.log").read_text(errors="replace")

    def files(self, pattern: str) -> list[Path]:
        """Those of that pattern."""
        return list(self.path.glob(pattern))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    where = tmp_path / "disk"
    where.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(where)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        pytest.skip(f"a small disk cannot be mounted: {problem}")
    yield SmallDisk(where)
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.fixture
def nodes(tmp_path: Path, disk: SmallDisk) -> Iterator[Any]:
    """Makes processes that end with the test, `nodes(*lines)`; `full` is on the small disk."""
    made: list[Process] = []

    def make(*lines: str, full: bool = False) -> Process:
        folder = [f"dir {disk.path}"] if full else []
        made.append(Process(OURS, tmp_path / f"node{len(made)}", [*folder, *SETTINGS, *lines]))
        made[-1].start()
        return made[-1]

    yield make
    for node in made:
        node.kill()


def populate(node: Process, keys: int, value_bytes: int, name: str = "key") -> None:
    node.client(socket_timeout=60).execute_command("DEBUG", "POPULATE", keys, name, value_bytes)


def digest(node: Process) -> str:
    return str(node.client(socket_timeout=60).execute_command("DEBUG", "DIGEST"))


def link_up(node: Process) -> bool:
    return bool(node.info().get("master_link_status") == "up")


def refused(node: Process) -> None:
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        node.client().set("refused", 1)


def resumes(node: Process) -> None:
    """Writes are taken again."""
    until(lambda: node.client().set("resumed", 1), f"service to resume: {node.log()}")


class Writer(threading.Thread):
    """Appends numbers to a list until it is refused, and knows which were acknowledged."""

    def __init__(self, node: Process) -> None:
        super().__init__(daemon=True)
        self.client = node.client(socket_timeout=120)
        self.acknowledged = 0

    def run(self) -> None:
        try:
            while True:
                self.client.rpush("numbers", f"{self.acknowledged + 1} {'x' * 1000}")
                self.acknowledged += 1
        except redis.RedisError:
            self.client.close()


def test_the_log_cannot_grow(nodes: Any, disk: SmallDisk) -> None:
    node = nodes("appendonly yes", "appendfsync everysec", "save ''", full=True)
    node.client().set("before", 1)
    disk.fill(left_bytes=500_000)
    writer = Writer(node)
    writer.start()
    until(lambda: node.info("persistence")["aof_last_write_status"] == "err", "the refusal")
    refused(node)
    assert node.client().get("before") == "1"
    held = writer.acknowledged
    disk.make_room()
    resumes(node)
    until(lambda: writer.acknowledged > held, "the reply that waited for room")
    # Again, and this time it is killed and starts where there is no room at all.
    disk.fill(left_bytes=100_000)
    until(lambda: node.info("persistence")["aof_last_write_status"] == "err", "the refusal")
    node.kill()
    writer.join(60)
    assert not writer.is_alive()
    node.start()
    until(lambda: node.client().get("before") == "1", "the log to be loaded")
    numbers = [int(each.split()[0]) for each in node.client().lrange("numbers", 0, -1)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= writer.acknowledged
    disk.make_room()
    resumes(node)
    wanted = digest(node)
    node.kill()
    node.start()
    until(lambda: node.client().get("resumed"), "the log to be loaded")
    assert digest(node) == wanted


def test_the_snapshot_cannot_be_saved(nodes: Any, disk: SmallDisk) -> None:
    node = nodes("save 3600 1000000", full=True)
    populate(node, 2000, 2000)
    assert node.client().save()
    before = (disk.path / "dump.rdb").read_bytes()
    node.client().set("since", 1)
    disk.fill(left_bytes=1_000_000)
    node.client().bgsave()
    until(lambda: node.info("persistence")["rdb_last_bgsave_status"] == "err", "the refusal")
    refused(node)
    assert (dump := disk.path / "dump.rdb").read_bytes() == before
    assert not disk.files("temp-*")
    disk.make_room()
    node.client().bgsave()
    resumes(node)
    assert dump.read_bytes() != before
    node.kill()
    node.start()
    until(lambda: node.client().get("since") == "1", "the snapshot to be loaded")


def test_discarded_writes_cannot_be_put_aside(nodes: Any, disk: SmallDisk) -> None:
    old = nodes("save ''", "repl-backlog-size 16mb", full=True)
    new = nodes("save ''", f"replicaof 127.0.0.1 {old.port}")
    old.client().set("before", 1)
    until(lambda: new.client().get("before"), "the follower to catch up")
    new.client().replicaof("127.0.0.1", free_port())
    until(lambda: old.info()["connected_slaves"] == 0, "the link to be gone")
    new.client().replicaof("NO", "ONE")
    with old.client(socket_timeout=60).pipeline(transaction=False) as pipe:
        for at in range(1000):
            pipe.set(f"tail:{at}", "x" * 2000)
        pipe.execute()
    disk.fill(left_bytes=1_000_000)
    old.client().replicaof("127.0.0.1", new.port)
    until(lambda: old.info().get("last_rollback_status") == "err", "the refusal")
    assert old.client().get("tail:999") == "x" * 2000
    assert old.info()["master_link_status"] == "down"
    assert old.info()["rollback_files"] == 0
    assert not disk.files("temp-*")
    disk.make_room()
    until(lambda: link_up(old), f"the rewind: {old.log()}")
    until(lambda: digest(old) == digest(new), "the data to be the same")
    assert new.info("stats")["sync_full"] == 0
    (path,) = disk.files("rollback-*")
    kept = [one.words[1] for one in RollbackReader(Disk(), str(path)).commands()]
    assert kept == [b"tail:%d" % at for at in range(1000)]


def test_a_follower_that_cannot_write_its_base_serves_and_has_its_log_later(
    nodes: Any, disk: SmallDisk
) -> None:
    leader = nodes("save ''")
    populate(leader, 4000, 1000)
    disk.fill(left_bytes=1_000_000)
    follower = nodes("save ''", "appendonly yes", f"replicaof 127.0.0.1 {leader.port}", full=True)
    until(lambda: link_up(follower), f"the full sync: {follower.log()}")
    until(lambda: follower.info("persistence")["aof_last_bgrewrite_status"] == "err", "the refusal")
    leader.client().set("since", 1)
    until(lambda: follower.client().get("since") == "1", "the stream")
    disk.make_room()
    until(
        lambda: (
            follower.info("persistence")["aof_last_bgrewrite_status"] == "ok"
            and follower.info("persistence")["aof_rewrite_in_progress"] == 0
        ),
        "the base",
    )
    leader.client().set("later", 1)
    until(lambda: follower.client().get("later") == "1", "the stream")
    follower.kill()
    follower.start()
    until(lambda: link_up(follower), f"the link to come back: {follower.log()}")
    assert digest(leader) == digest(follower)
    assert leader.info("stats")["sync_full"] == 1


def test_a_leader_that_cannot_spool_a_snapshot_gives_it_later(nodes: Any, disk: SmallDisk) -> None:
    leader = nodes("save ''", "repl-diskless-sync no", full=True)
    populate(leader, 12_000, 1000)  # more than is spooled in memory
    disk.fill(left_bytes=1_000_000)
    follower = nodes("save ''", f"replicaof 127.0.0.1 {leader.port}")
    failed = "Snapshot for SYNC failed"
    until(lambda: failed in disk.log(), "the refusal")
    assert leader.client().set("k", 1), "its own clients notice nothing"
    disk.make_room()
    until(lambda: link_up(follower), "the full sync")
    until(lambda: digest(leader) == digest(follower), "the data to be the same")
