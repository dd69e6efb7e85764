"""Persistence: when the file is written, what is in it, and what happens when the disk refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_server.config import Config
from cache_server.datatypes.hashes import Hash
from cache_server.datatypes.sets import Set
from cache_server.datatypes.sorted_sets import SortedSet
from cache_server.disk import Disk, Replacement
from cache_server.errors import CommandError, InputError
from cache_server.keyspace.database import NOTIFY_STRING, Keyspace
from cache_server.persistence.recovery import RecoveredHistory
from cache_server.persistence.saving import Persistence
from cache_server.persistence.snapshot_codec import EXPIRE_MS, Encoder, trailer
from replication.checksum import crc64_redis


class RefusingDisk(Disk):
    """A disk that is full from a certain moment on, while `full`."""

    full = False

    def replace(self, path: str) -> Replacement:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().replace(path)


class TornReplacement(Replacement):
    def write(self, data: bytes) -> None:
        raise OSError(28, "No space left on device")


class TearingDisk(Disk):
    def replace(self, path: str) -> Replacement:
        return TornReplacement(path, path + ".temporary")


class Host:
    """What Persistence asks of the server."""

    def __init__(self, loop: Any = None) -> None:
        self.config = Config()
        self.config.save = []
        self.keyspace = Keyspace(16)
        self.loop = loop
        self.failing = False
        self.tracking = self
        self.told_of_flush = 0

    def data_flushed(self) -> None:
        self.told_of_flush += 1

    def disk_failing(self, failing: bool) -> None:
        self.failing = failing

    def put(self, key: bytes, value: Any, index: int = 0) -> None:
        db = self.keyspace.databases[index]
        db.put(key, value)
        db.changed(key, NOTIFY_STRING, b"set")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.glob("temp-*"))


def start(host: Host | None = None) -> Persistence:
    """A server that loaded the file in the folder."""
    host = Host() if host is None else host

    async def run() -> Persistence:
        host.loop = asyncio.get_running_loop()
        persistence = Persistence(host)
        await persistence.start()
        return persistence

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come about")


def value(persistence: Persistence, key: bytes, index: int = 0) -> Any:
    return persistence.keyspace.databases[index].peek(key)


def test_what_is_saved_is_loaded_at_the_next_start() -> None:
    host = Host()
    host.put(b"a", b"1")
    host.put(b"b", 2, index=9)
    persistence = Persistence(host)
    assert persistence.save()
    assert persistence.changes == 0
    again = start()
    assert value(again, b"a") == b"1"
    assert value(again, b"b", 9) == 2
    assert again.keys_loaded == 2
    assert again.changes == 0


def test_without_a_file_the_server_starts_empty() -> None:
    assert len(start().keyspace) == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "more", "empty"])
def test_a_damaged_file_ends_the_start_and_stays_as_it_is(tmp_path: Path, damage: str) -> None:
    host = Host()
    host.put(b"key", b"value")
    Persistence(host).save()
    file = tmp_path / "dump.rdb"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-12] ^= 1
    elif damage == "cut":
        del data[-3:]
    elif damage == "more":
        data += b"x"
    else:
        data.clear()
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"dump\.rdb: .*(offset|behind)"):
        start()
    assert file.read_bytes() == data


def test_a_damaged_value_is_named_by_its_key_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = b"REDIS0009\xfe\x00\x0d\x01k\x02xx\xff" + bytes(8)
    (tmp_path / "dump.rdb").write_bytes(damaged)
    with pytest.raises(InputError, match=r"integrity check failed: .* in the value of key b'k'"):
        start()
    assert "Internal error in RDB reading: " in caplog.text


def test_a_background_save_shows_the_instant_it_was_asked_for() -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        for number in range(5000):
            host.put(b"key:%d" % number, b"before")
        persistence = Persistence(host)
        assert persistence.background_save()
        assert persistence.running is not None
        for number in range(5000):
            host.put(b"key:%d" % number, b"after")
        assert "rdb_bgsave_in_progress:1" in persistence.info_lines()
        await until(lambda: persistence.running is None)
        assert persistence.last_save_ok
        assert persistence.changes == 5000

    asyncio.run(run())
    again = start()
    assert {entry.value for entry in again.keyspace.databases[0].table.values()} == {b"before"}
    assert again.keys_loaded == 5000


def test_a_background_save_that_is_stopped_leaves_the_old_file() -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        host.put(b"old", b"1")
        persistence = Persistence(host)
        persistence.save()
        host.put(b"new", b"1")
        persistence.background_save()
        persistence.flushed_all()
        assert persistence.running is None
        assert persistence.changes == 1
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert value(start(), b"new") is None
    assert value(start(), b"old") == b"1"


def test_a_flush_with_save_points_is_saved_at_once() -> None:
    host = Host()
    host.put(b"old", b"1")
    persistence = Persistence(host)
    persistence.save()
    host.config.save = [(3600, 1)]
    for db in host.keyspace.databases:
        db.clear()
    persistence.flushed_all()
    assert len(start().keyspace) == 0


def test_save_points() -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        host.config.save = [(100, 1), (10, 3)]
        persistence = Persistence(host)
        began_ms = persistence.last_save_s * 1000
        host.put(b"a", b"1")
        persistence.cron(began_ms + 100_000)
        assert persistence.running is None
        host.put(b"a", b"2")
        host.put(b"a", b"3")
        persistence.cron(began_ms + 10_000)
        assert persistence.running is None
        persistence.cron(began_ms + 11_000)
        assert persistence.running is not None
        await until(lambda: persistence.running is None)
        host.put(b"a", b"4")
        persistence.cron(began_ms + 300_000)
        assert persistence.running is not None
        await until(lambda: persistence.running is None)

    asyncio.run(run())


def test_a_full_disk_makes_writes_refused_until_a_save_succeeds() -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        host.config.save = [(1, 1)]
        disk = RefusingDisk()
        persistence = Persistence(host, disk)
        host.put(b"a", b"1")
        disk.full = True
        assert not persistence.background_save()
        assert host.failing
        with pytest.raises(CommandError, match="MISCONF"):
            persistence.check_writable()
        assert "rdb_last_bgsave_status:err" in persistence.info_lines()
        disk.full = False
        persistence.cron((persistence.last_save_s + 3) * 1000)
        assert persistence.running is None
        persistence.cron((persistence.last_save_s + 60) * 1000)
        await until(lambda: persistence.running is None)
        persistence.check_writable()
        assert not host.failing

    asyncio.run(run())


def test_a_write_error_in_the_middle_keeps_the_old_file() -> None:
    async def run() -> None:
        host = Host(asyncio.get_running_loop())
        host.put(b"old", b"1")
        Persistence(host).save()
        host.put(b"new", b"1")
        persistence = Persistence(host, TearingDisk())
        assert not persistence.save()
        persistence.background_save()
        await until(lambda: persistence.running is None)
        assert not persistence.last_save_ok
        assert persistence.changes > 0

    asyncio.run(run())
    assert value(start(), b"old") == b"1"
    assert value(start(), b"new") is None


def test_shutdown_saves_with_save_points_or_when_asked() -> None:
    host = Host()
    persistence = Persistence(host)
    host.put(b"a", b"1")
    assert persistence.save_before_exit()
    assert value(start(), b"a") is None
    host.config.save = [(3600, 1)]
    assert persistence.save_before_exit(refused=True)
    assert value(start(), b"a") is None
    assert persistence.save_before_exit()
    assert value(start(), b"a") == b"1"
    host.config.save = []
    host.put(b"b", b"1")
    assert persistence.save_before_exit(wanted=True)
    assert value(start(), b"b") == b"1"


def test_the_history_is_found_again() -> None:
    host = Host()
    persistence = Persistence(host)
    persistence.history_fields = lambda: [
        (b"repl-stream-db", 3),
        (b"repl-id", b"a" * 40),
        (b"repl-offset", 12345),
    ]
    persistence.save()
    assert start().recovered == RecoveredHistory("a" * 40, 12345, 3)


def write_expired(path: Path, history: bool) -> None:
    encoder = Encoder()
    encoder.header()
    if history:
        encoder.aux(b"repl-id", b"b" * 40)
    encoder.select(0)
    for key, expire_ms in ((b"gone", 1000), (b"kept", 2**45)):
        encoder.out.append(EXPIRE_MS)
        encoder.out += expire_ms.to_bytes(8, "little") + b"\x00"
        encoder.string(key)
        encoder.string(b"value")
    encoder.end()
    data = bytes(encoder.out)
    path.write_bytes(data + trailer(crc64_redis(data)))


@pytest.mark.parametrize(
    ("follower", "history", "kept"), [(False, False, 1), (True, False, 2), (False, True, 2)]
)
def test_who_drops_expired_keys(tmp_path: Path, follower: bool, history: bool, kept: int) -> None:
    write_expired(tmp_path / "dump.rdb", history)
    host = Host()
    host.config.replicaof = ("127.0.0.1", 6379) if follower else None
    persistence = start(host)
    assert (persistence.keys_loaded, persistence.keys_expired) == (kept, 2 - kept)


class TestReload:
    """DEBUG RELOAD."""

    def test_the_data_is_the_same_afterwards(self) -> None:
        host = Host()
        host.put(b"a", b"1")
        persistence = Persistence(host)
        persistence.reload()
        assert value(persistence, b"a") == b"1"
        assert persistence.changes == 0

    def test_without_saving_it_is_the_files(self) -> None:
        host = Host()
        host.put(b"a", b"1")
        persistence = Persistence(host)
        persistence.save()
        host.put(b"a", b"2")
        persistence.reload(save=False)
        assert value(persistence, b"a") == b"1"

    def test_a_file_that_cannot_be_loaded_leaves_the_data(self, tmp_path: Path) -> None:
        host = Host()
        host.put(b"a", b"1")
        (tmp_path / "dump.rdb").write_bytes(b"nonsense")
        persistence = Persistence(host)
        with pytest.raises(CommandError, match="Error trying to load the RDB dump"):
            persistence.reload(save=False)
        assert value(persistence, b"a") == b"1"

    def test_merging_overwrites_only_when_told(self) -> None:
        host = Host()
        host.put(b"a", b"1")
        persistence = Persistence(host)
        persistence.save()
        host.put(b"a", b"2")
        host.put(b"b", b"3")
        with pytest.raises(CommandError):
            persistence.reload(save=False, flush=False)
        assert value(persistence, b"a") == b"2"
        persistence.reload(save=False, flush=False, replace=True)
        assert value(persistence, b"a") == b"1"
        assert value(persistence, b"b") == b"3"


def test_loaded_values_have_the_encodings_that_the_settings_make() -> None:
    host = Host()
    host.put(b"hash", Hash([(b"f%d" % number, b"v") for number in range(5)]))
    host.put(b"zset", SortedSet([(b"m%d" % number, 1.0) for number in range(5)]))
    host.put(b"set", Set([b"%d" % number for number in range(5)]))
    persistence = Persistence(host)
    encodings = [b"listpack", b"listpack", b"intset"]
    for limit in (5, 4, 5):
        host.config.hash_max_listpack_entries = limit
        host.config.zset_max_listpack_entries = limit
        host.config.set_max_intset_entries = limit
        persistence.reload()
        found = [value(persistence, key).encoding for key in (b"hash", b"zset", b"set")]
        assert found == (encodings if limit == 5 else [b"hashtable", b"skiplist", b"hashtable"])
