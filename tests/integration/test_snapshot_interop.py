"""Snapshots against a real redis-server: each reads what the other wrote, and both agree on it."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cache_server.keyspace.database import Keyspace
from cache_server.persistence.recovery import install
from cache_server.persistence.snapshot import Snapshot
from cache_server.persistence.snapshot_codec import Loader, dump_value, restore_value
from tests.integration.processes import free_port, needs

pytestmark = [
    pytest.mark.integration,
    needs("redis-server"),
]


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Any]:
    """A client of a real redis-server whose folder is `tmp_path`."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    command += ["--enable-debug-command", "yes", "--hash-max-listpack-entries", "50"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "redis-server did not start"
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()


def fill(client: Any) -> None:
    """Every type, in each of the encodings that redis-server has for it."""
    rng = random.Random(7)
    client.mset({f"s{n}": f"value {rng.getrandbits(60)}" for n in range(300)})
    client.mset({"int8": -7, "int16": 300, "int32": -70_000, "int64": 2**62, "empty": ""})
    client.mset({"compressible": "abc" * 4000, "noise": rng.randbytes(4000), "long": "x" * 70_000})
    client.set("volatile1", 1, px=10_000_000)
    client.rpush("list small", *range(20), "a", "")
    client.rpush("list big", *(f"item {n}" * (n % 9) for n in range(4000)), "y" * 20_000)
    client.sadd("set of integers", *range(-50, 50))
    client.sadd("set of large integers", *range(100), 2**40, -(2**60))
    client.sadd("set of words", "a", "b", 3)
    client.sadd("set big", *(f"m{n}" for n in range(3000)))
    client.hset("hash small", mapping={"f": "v", "n": 1, "": ""})
    client.hset("hash big", mapping={f"f{n}": f"v{n}" for n in range(2000)})
    client.zadd("zset small", {"a": 1, "b": 2.5, "low": "-inf", "high": "inf", "tiny": 3e-5})
    client.zadd("zset big", {f"z{n}": rng.uniform(-1e6, 1e6) for n in range(2000)})
    fill_streams(client)


def fill_streams(client: Any) -> None:
    for n in range(250):
        fields = {"f": n, "g": "x" * 50} if n % 7 == 0 else {"f": n}
        client.xadd("stream", fields, id=f"{n // 3 + 1}-{n % 3}")
    client.xdel("stream", "5-1", "50-2")
    client.xgroup_create("stream", "g1", 0)
    client.xgroup_create("stream", "g2", "$")
    client.xreadgroup("g1", "alice", {"stream": ">"}, count=10)
    client.xreadgroup("g1", "bob", {"stream": ">"}, count=5)
    client.xack("stream", "g1", "2-1")
    client.xgroup_create("stream without entries", "g", "$", mkstream=True)


def digest(client: Any, key: str) -> Any:
    return client.execute_command("DEBUG", "DIGEST-VALUE", key)


def load(path: Path) -> Keyspace:
    keyspace = Keyspace(16)
    loader = Loader(16, time.time_ns() // 1_000_000)
    loader.feed(path.read_bytes())
    install(keyspace, loader.finish())
    return keyspace


def save(keyspace: Keyspace, path: Path, compress: bool) -> None:
    snapshot = Snapshot(keyspace, [(b"redis-ver", b"7.0.15")], compress=compress)
    with path.open("wb") as file:
        while chunk := snapshot.next_chunk(65_536):
            file.write(chunk)
    snapshot.close()


@pytest.mark.parametrize("compress", [False, True])
def test_stock_loads_what_we_write_of_what_stock_wrote(
    stock: Any, tmp_path: Path, compress: bool
) -> None:
    fill(stock)
    before = stock.execute_command("DEBUG", "DIGEST")
    stock.save()
    file = tmp_path / "dump.rdb"
    keyspace = load(file)
    assert len(keyspace) == stock.dbsize()
    save(keyspace, file, compress)
    check = subprocess.run(["redis-check-rdb", file], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout
    assert "Checksum OK" in check.stdout
    stock.execute_command("DEBUG", "RELOAD", "NOSAVE")
    assert stock.execute_command("DEBUG", "DIGEST") == before


@pytest.mark.parametrize("compress", [False, True])
def test_dumps_are_restored_by_the_other(stock: Any, compress: bool) -> None:
    fill(stock)
    for key in [*stock.keys("*[a-z]"), b"int8", b"int32", b"s1"]:
        ours = dump_value(restore_value(stock.dump(key)), compress)
        stock.restore("copy", 0, ours, replace=True)
        assert digest(stock, "copy") == digest(stock, key), key
