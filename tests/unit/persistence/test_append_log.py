"""The log of a server: what it promises, what the disk may do to it, and what comes back."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_server.commands.digest import dataset_digest
from cache_server.config import Config
from cache_server.disk import Appender, Disk, Replacement
from cache_server.errors import InputError
from cache_server.persistence.inspection import inspect_log, repair
from cache_server.persistence.log_folder import LogLoad
from cache_server.server import Server
from replication.constants import NO_REPLID
from tests.unit.talk import Shell

FOLDER = "appendonlydir"
INCREMENT = f"{FOLDER}/appendonly.aof.1.incr.aof"
BASE = f"{FOLDER}/appendonly.aof.1.base.rdb"
MANIFEST = f"{FOLDER}/appendonly.aof.manifest"


class TryingAppender(Appender):
    """Refuses, and waits, as its disk says."""

    disk: TryingDisk

    def write(self, data: bytes) -> None:
        if self.disk.full:
            raise OSError(28, "No space left on device")
        super().write(data)

    def sync(self) -> None:
        assert self.disk.syncs_may_end.wait(10)
        if self.disk.syncs_fail:
            self.disk.syncs_fail -= 1
            raise OSError(5, "Input/output error")
        super().sync()


class TryingDisk(Disk):
    """A disk that is full, slow or broken on request."""

    def __init__(self) -> None:
        self.full = False
        self.syncs_fail = 0
        self.syncs_may_end = threading.Event()
        self.syncs_may_end.set()

    def append(self, path: str) -> Appender:
        appender = TryingAppender(path)
        appender.disk = self
        return appender


class Node:
    """A server without sockets, from start to stop or to its death."""

    def __init__(self, disk: Disk | None = None, **settings: Any) -> None:
        config = Config()
        config.save, config.appendonly = [], True
        for name, value in settings.items():
            setattr(config, name, value)
        self.server = Server(config, asyncio.get_running_loop())
        self.log = self.server.append_log
        self.log.disk = self.log.folder.disk = disk or Disk()
        self.history = self.server.replication.leader.history

    async def start(self) -> Node:
        for part in (self.server.persistence, self.server.replication):
            await part.start()
        self.shell = Shell(self.server)
        return self

    def say(self, *requests: str) -> bytes:
        reply = self.shell.say(*requests)
        self.server.flush_stream()
        return reply + self.shell.take()

    @property
    def digest(self) -> int:
        return dataset_digest(self.server.keyspace)

    @property
    def offset(self) -> int:
        return self.server.replication.leader.backlog.end

    def tick(self) -> None:
        self.server.dispatcher.begin_pass()
        self.log.cron(self.server.now_ms())

    async def until(self, condition: Callable[[], Any]) -> None:
        for _ in range(5000):
            if condition():
                return
            self.tick()
            await asyncio.sleep(0.001)
        raise AssertionError("it did not come about")

    async def die(self) -> None:
        """Nothing is written any more; only the thread is let go."""
        self.log.syncs.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


async def grown(*requests: str, **settings: Any) -> Node:
    """A node that was killed after these requests."""
    node = await Node(**settings).start()
    node.say(*requests)
    await node.die()
    return node


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_killed_server_comes_back_with_data_and_history() -> None:
    async def test() -> None:
        before = await grown("SET a 1", "SELECT 3", "RPUSH l x y", "EXPIRE l 1000")
        after = await Node().start()
        assert after.digest == before.digest
        assert after.history.replid == before.history.replid
        assert after.offset == before.offset
        backlog = after.server.replication.leader.backlog
        assert backlog.covers(0)
        assert backlog.mark == before.server.replication.leader.backlog.mark
        assert after.say("GET a") == b"$1\r\n1\r\n"
        await after.die()

    run(test)


def test_it_comes_back_again_and_again_from_the_same_file() -> None:
    async def test() -> None:
        ids = set()
        for number in range(4):
            node = await grown(f"SELECT {number}", f"SET k{number} {number}")
            ids.add(node.history.replid)
        after = await Node().start()
        assert [len(db.table) for db in after.server.keyspace.databases[:5]] == [1, 1, 1, 1, 0]
        assert len(ids) == 1
        await after.die()

    run(test)


def test_the_log_can_be_loaded_in_place_of_the_data_and_that_is_not_logged() -> None:
    async def test() -> None:
        node = await Node(enable_debug_command="yes").start()
        node.say("SET a 1", "SET b 1 EX 100", "GETEX b PERSIST")
        digest, offset = node.digest, node.offset
        assert node.say("DEBUG LOADAOF") == b"+OK\r\n"
        assert (node.digest, node.offset) == (digest, offset)
        await node.die()

    run(test)


def test_a_copy_of_the_log_goes_on_under_an_id_of_its_own(tmp_path: Path) -> None:
    async def test() -> None:
        before = await grown("SET a 1")
        shutil.copytree(FOLDER, "copy")
        shutil.rmtree(FOLDER)
        Path("copy").rename(FOLDER)
        after = await Node().start()
        assert after.history.replid != before.history.replid
        assert after.history.replid2 == before.history.replid
        assert after.history.replid2_position == before.offset
        await after.die()

    run(test)


def test_a_torn_tail_is_cut_and_its_size_told(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        await grown("SET a 1")
        size = Path(INCREMENT).stat().st_size
        await grown("SET a 2")
        data = Path(INCREMENT).read_bytes()
        for cut_bytes in (1, 40, 100):
            Path(INCREMENT).write_bytes(data[:-cut_bytes])
            caplog.clear()
            with caplog.at_level(logging.WARNING, "cache_server"):
                after = await Node().start()
            assert after.say("GET a") == b"$1\r\n1\r\n"
            await after.die()
            assert "bytes are cut off" in caplog.text
        assert Path(INCREMENT).stat().st_size >= size

    run(test)


def test_zeros_behind_the_end_are_a_torn_tail() -> None:
    async def test() -> None:
        await grown("SET a 1")
        with open(INCREMENT, "ab") as file:
            file.write(bytes(5000))
        after = await Node().start()
        assert after.say("GET a") == b"$1\r\n1\r\n"
        await after.die()
        assert b"\0" not in Path(INCREMENT).read_bytes()

    run(test)


def test_damage_in_the_middle_is_refused_until_it_is_repaired() -> None:
    async def test() -> None:
        node = await Node().start()
        node.say("SET a 1")
        size = Path(INCREMENT).stat().st_size
        node.say("SET a 2")
        node.say("SET a 3")
        await node.die()
        data = bytearray(Path(INCREMENT).read_bytes())
        data[size + 110] ^= 1
        Path(INCREMENT).write_bytes(data)
        with pytest.raises(InputError, match=rf"incr\.aof: at offset {size + 102}"):
            await Node().start()
        assert Path(INCREMENT).read_bytes() == data
        report = inspect_log(Disk(), FOLDER, 0)
        assert report.fault is not None
        repair(Disk(), report)
        assert inspect_log(Disk(), FOLDER, 0).fault is None
        aside = next(Path(FOLDER).glob("*.from-*")).read_bytes()
        assert Path(INCREMENT).read_bytes() + aside == data
        after = await Node().start()
        assert after.say("GET a") == b"$1\r\n1\r\n"
        await after.die()

    run(test)


def test_a_base_that_is_damaged_is_replaced_by_the_snapshot_file() -> None:
    async def test() -> None:
        node = await Node().start()
        node.say("SET a 1", "SELECT 2", "SET b 1")
        node.say("SAVE")
        node.say("SET c 1", "INCR b")
        digest = node.digest
        await node.die()
        data = bytearray(Path(BASE).read_bytes())
        data[-1] ^= 1
        Path(BASE).write_bytes(data)
        after = await Node().start()
        assert after.digest == digest
        assert after.offset == node.offset
        await after.die()
        Path("dump.rdb").unlink()
        with pytest.raises(InputError, match=r"base\.rdb"):
            await Node().start()

    run(test)


def test_a_single_file_of_an_older_redis_becomes_the_base() -> None:
    async def test() -> None:
        Path("appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n")
        node = await Node().start()
        assert node.say("GET a") == b"$1\r\n1\r\n"
        assert node.history.replid2 == NO_REPLID
        node.say("SET b 1")
        await node.die()
        assert Path(MANIFEST).read_text() == (
            "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
        )
        after = await Node().start()
        assert after.say("GET b") == b"$1\r\n1\r\n"
        assert after.history.replid == node.history.replid
        await after.die()

    run(test)


def test_the_snapshot_file_is_the_first_base_where_there_is_no_log() -> None:
    async def test() -> None:
        before = await Node(appendonly=False).start()
        before.say("SET a 1", "SAVE")
        after = await Node().start()
        assert after.say("GET a") == b"$1\r\n1\r\n"
        await after.die()
        again = await Node().start()
        assert again.say("GET a") == b"$1\r\n1\r\n"
        await again.die()

    run(test)


@pytest.mark.parametrize("preamble", [True, False])
def test_a_rewrite_leaves_one_base_and_one_increment(preamble: bool) -> None:
    async def test() -> None:
        node = await Node(aof_use_rdb_preamble=preamble).start()
        node.say("SET s 1", "SELECT 1", "RPUSH l 1 2", "SADD t a b", "HSET h f v", "ZADD z 1.5 m")
        node.say("XADD x 1-1 f v", "SET v 1 PX 1000000", "RPUSH many " + "x " * 200)
        assert node.say("BGREWRITEAOF").startswith(b"+Background append only file rewriting st")
        node.say("INCR n", "APPEND s 2")
        await node.until(lambda: node.log.rewriting is None)
        node.say("INCR n")
        digest, offset = node.digest, node.offset
        await node.log.syncs.drain()
        await node.die()
        suffix = "rdb" if preamble else "aof"
        names = sorted(path.name for path in Path(FOLDER).iterdir())
        assert names == [
            f"appendonly.aof.2.base.{suffix}",
            "appendonly.aof.2.incr.aof",
            "appendonly.aof.manifest",
        ]
        after = await Node().start()
        assert after.digest == digest
        assert (after.offset if preamble else offset) == offset
        await after.die()

    run(test)


def test_a_log_that_has_grown_enough_is_rewritten() -> None:
    async def test() -> None:
        node = await Node(auto_aof_rewrite_min_size=1000, auto_aof_rewrite_percentage=100).start()
        for number in range(20):
            node.say(f"SET k {number}")
        await node.until(lambda: node.log.rewrites == 1 and node.log.rewriting is None)
        assert node.log.current_bytes < 1000
        await node.die()

    run(test)


def test_the_log_can_be_switched_on_and_off() -> None:
    async def test() -> None:
        node = await Node(appendonly=False).start()
        node.say("SET a 1")
        assert node.say("CONFIG SET appendonly yes") == b"+OK\r\n"
        node.say("SET b 1")
        await node.until(lambda: node.log.rewriting is None)
        node.say("SET c 1")
        assert node.say("CONFIG SET appendonly no") == b"+OK\r\n"
        digest = node.digest
        node.say("SET d 1")
        await node.log.syncs.drain()
        await node.die()
        after = await Node().start()
        assert after.digest == digest
        assert after.history.replid2 == node.history.replid
        await after.die()

    run(test)


def test_replies_leave_when_the_log_has_what_they_tell_of() -> None:
    async def test() -> None:
        node = await Node().start()
        size = Path(INCREMENT).stat().st_size
        assert node.shell.say("SET a 1") == b""
        assert Path(INCREMENT).stat().st_size == size
        node.server.flush_stream()
        assert Path(INCREMENT).stat().st_size > size
        assert node.shell.take() == b"+OK\r\n"
        assert node.shell.say("GET a") == b"$1\r\n1\r\n"
        await node.die()

    run(test)


def test_replies_wait_for_the_disk_under_always() -> None:
    async def test() -> None:
        disk = TryingDisk()
        node = await Node(disk, appendfsync="always").start()
        disk.syncs_may_end.clear()
        other = Shell(node.server)
        assert node.say("SET a 1") == b""
        assert other.say("GET a") == b"$1\r\n1\r\n"
        assert other.say("SET a 2") == b""
        node.server.flush_stream()
        await asyncio.sleep(0.02)
        assert node.shell.sent + other.sent == b""
        disk.syncs_may_end.set()
        await node.until(lambda: node.shell.sent and other.sent)
        assert node.shell.take() + other.take() == b"+OK\r\n+OK\r\n"
        assert node.say("GET a") == b"$1\r\n2\r\n"
        await node.die()

    run(test)


def test_a_full_disk_refuses_writes_and_loses_nothing() -> None:
    async def test() -> None:
        disk = TryingDisk()
        node = await Node(disk).start()
        node.say("SET a 1")
        disk.full = True
        other = Shell(node.server)
        assert node.say("SET a 2") == b""
        node.server.flush_stream()
        assert node.shell.take() == b"", "what a kill would lose is not acknowledged"
        assert other.say("SET a 3").startswith(
            b"-MISCONF Errors writing to the AOF file: No space left on device"
        )
        assert other.say("GET a") == b"$1\r\n2\r\n"
        assert b"aof_last_write_status:err" in other.say("INFO persistence")
        disk.full = False
        await node.until(lambda: not node.log.failing)
        assert node.shell.take() == b"+OK\r\n"
        assert node.say("SET a 3") == b"+OK\r\n"
        await node.die()
        after = await Node().start()
        assert after.say("GET a") == b"$1\r\n3\r\n"
        assert after.history.replid == node.history.replid
        await after.die()

    run(test)


def test_after_a_failed_sync_everything_goes_to_new_files_before_anyone_is_answered() -> None:
    async def test() -> None:
        disk = TryingDisk()
        node = await Node(disk, appendfsync="always").start()
        disk.syncs_fail = 1
        assert node.say("SET a 1") == b""
        await node.until(lambda: node.log.failing)
        assert node.shell.sent == b""
        await node.until(lambda: node.shell.sent)
        assert node.shell.take() == b"+OK\r\n"
        assert node.log.rewrites == 1
        assert not node.log.failing
        await node.log.syncs.drain()
        await node.die()
        after = await Node().start()
        assert after.say("GET a") == b"$1\r\n1\r\n"
        await after.die()

    run(test)


def test_a_failed_sync_is_mended_although_the_stream_goes_on() -> None:
    async def test() -> None:
        disk = TryingDisk()
        node = await Node(disk, appendfsync="always").start()
        other = Shell(node.server)
        other.say("SET gone 1 PX 1")
        await node.until(lambda: other.sent)
        disk.syncs_fail = 1
        node.say("SET a 1")
        await node.until(lambda: node.log.failing)
        node.server.keyspace.now_ms += 1000
        other.say("GET gone")  # what has expired is deleted in the stream, disk or no disk
        node.server.flush_stream()
        assert node.log.held
        await node.until(lambda: not node.log.failing)
        assert not node.log.held
        await node.until(lambda: b"+OK" in node.shell.sent)
        await node.die()
        after = await Node().start()
        assert after.say("EXISTS a gone") == b":1\r\n"
        assert after.offset == node.offset
        await after.die()

    run(test)


def test_a_sync_does_not_cover_what_the_disk_refused() -> None:
    async def test() -> None:
        disk = TryingDisk()
        node = await Node(disk, appendfsync="always").start()
        other, third = Shell(node.server), Shell(node.server)
        disk.syncs_may_end.clear()
        assert node.say("SET a 1") == b""
        assert other.say("SET b 1") == b""
        node.server.flush_stream()
        disk.full = True
        assert third.say("SET c 1") == b""
        node.server.flush_stream()
        disk.syncs_may_end.set()
        await node.until(lambda: node.shell.sent)
        await node.log.syncs.drain()
        await node.log.syncs.drain()
        assert third.sent == b""
        disk.full = False
        await node.until(lambda: other.sent and third.sent)
        await node.die()
        after = await Node().start()
        assert after.say("EXISTS a b c") == b":3\r\n"
        await after.die()

    run(test)


def test_frames_received_in_the_middle_of_a_command_wait_for_its_end() -> None:
    async def test() -> None:
        node = await Node().start()
        backlog, size = node.server.replication.leader.backlog, Path(INCREMENT).stat().st_size
        command = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nvalue\r\n"
        backlog.append(command[:12], 1, 0)
        assert node.log.write(40)
        assert Path(INCREMENT).stat().st_size == size
        backlog.append(command[12:], 1, 0)
        assert node.log.write(backlog.end)
        await node.die()
        after = await Node().start()
        assert after.say("GET a") == b"$5\r\nvalue\r\n"
        await after.die()

    run(test)


def test_a_frame_is_cut_where_a_command_ends_when_too_much_waits() -> None:
    async def test() -> None:
        node = await Node().start()
        backlog = node.server.replication.leader.backlog
        first = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$9\r\n" + b"v" * 9 + b"\r\n"
        long = b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$400000\r\n" + b"w" * 400_000 + b"\r\n"
        stream = first + long
        backlog.append(stream[:20], 1, 0)
        assert node.log.write(len(first))
        backlog.append(stream[20:300_000], 1, 0)
        assert node.log.write(len(stream))
        assert node.log.position == len(first)
        backlog.append(stream[300_000:], 1, 0)
        assert node.log.write(len(stream))
        await node.die()
        after = await Node().start()
        assert after.say("GET a", "STRLEN b") == b"$9\r\nvvvvvvvvv\r\n:400000\r\n"
        assert after.offset == len(stream)
        await after.die()

    run(test)


def test_clients_are_told_loading_while_the_log_is_loaded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        node = await Node(enable_debug_command="yes").start()
        node.say("SET a 1")
        other, said = Shell(node.server), []
        steps = LogLoad.steps

        def watched(self: LogLoad, step_bytes: int) -> Iterator[int]:
            said.append(other.say("GET a") + other.say("INFO persistence"))
            return steps(self, step_bytes)

        monkeypatch.setattr(LogLoad, "steps", watched)
        assert node.say("DEBUG LOADAOF") == b"+OK\r\n"
        assert said[0].startswith(b"-LOADING")
        assert b"loading:1" in said[0]
        assert node.say("GET a") == b"$1\r\n1\r\n"
        await node.die()

    run(test)


class ThreadedDisk(Disk):
    """A disk whose slow methods may not be called in the loop once it is `armed`."""

    armed = False

    def replace(self, path: str) -> Replacement:
        slow = self.armed and path.endswith(".manifest")
        assert not (slow and threading.current_thread() is threading.main_thread()), path
        return super().replace(path)

    def remove(self, path: str) -> None:
        assert not self.armed or threading.current_thread() is not threading.main_thread(), path
        super().remove(path)


def test_a_rewrite_does_nothing_slow_in_the_loop() -> None:
    async def test() -> None:
        disk = ThreadedDisk()
        node = await Node(disk).start()
        node.say("SET a 1")
        disk.armed = True
        node.say("BGREWRITEAOF")
        assert b"aof_rewrite_in_progress:1" in node.say("INFO persistence")
        await node.until(lambda: node.log.rewriting is None)
        node.say("SET b 2")
        await node.log.syncs.drain()
        await node.die()
        after = await Node().start()
        assert after.digest == node.digest
        assert sorted(path.name for path in Path(FOLDER).iterdir()) == [
            "appendonly.aof.2.base.rdb",
            "appendonly.aof.2.incr.aof",
            "appendonly.aof.manifest",
        ]
        await after.die()

    run(test)


def test_what_a_killed_server_left_as_history_is_removed_at_the_start() -> None:
    async def test() -> None:
        before = await grown("SET a 1")
        with open(MANIFEST, "ab") as file:
            file.write(b"file appendonly.aof.1.base.aof seq 1 type h\n")
        Path(FOLDER, "appendonly.aof.1.base.aof").write_bytes(b"of no use")
        after = await Node().start()
        await after.log.syncs.drain()
        assert not Path(FOLDER, "appendonly.aof.1.base.aof").exists()
        assert b"type h" not in Path(MANIFEST).read_bytes()
        assert after.digest == before.digest
        await after.die()

    run(test)


def test_killed_between_naming_an_increment_and_using_it() -> None:
    """The one before it is the last that was written: its torn tail is cut, its writer counts."""

    async def test() -> None:
        before = await grown("SET a 1")
        with open(MANIFEST, "ab") as file:
            file.write(b"file appendonly.aof.2.incr.aof seq 2 type i\n")
        Path(FOLDER, "appendonly.aof.2.incr.aof").touch()
        with open(INCREMENT, "ab") as file:
            file.write(b"#CF:4346")
        after = await Node().start()
        assert after.digest == before.digest
        assert after.history.replid == before.history.replid
        assert after.offset == before.offset
        after.say("SET b 2")
        await after.die()
        again = await Node().start()
        assert again.digest == after.digest
        await again.die()

    run(test)


def test_a_rewrite_that_is_stopped_before_its_increment_is_there_harms_nothing() -> None:
    async def test() -> None:
        node = await Node().start()
        node.say("SET a 1", "BGREWRITEAOF")
        node.log.stop_rewrite()
        node.say("SET b 2")
        await node.log.syncs.drain()
        node.say("SET c 3", "BGREWRITEAOF", "SET d 4")
        await node.until(lambda: node.log.rewriting is None)
        await node.log.syncs.drain()
        await node.die()
        after = await Node().start()
        assert after.digest == node.digest
        await after.die()

    run(test)
