"""MIGRATE between processes: to ours, to a stock Redis, and to one that does not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.processes import OURS, Process, free_port, needs, wait_for

pytestmark = [pytest.mark.integration]

BOTH = [
    pytest.param(OURS, id="ours"),
    pytest.param(["redis-server"], id="redis", marks=needs("redis-server")),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(OURS, tmp_path_factory.mktemp("source") / "node", ['save ""'])
    process.start()
    yield process
    process.kill()


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    process = Process(getattr(request, "param", OURS), tmp_path / "target", ['save ""'])
    process.start()
    yield process
    process.kill()


def migrate(source: Process, port: int, *words: Any) -> Any:
    return source.client().execute_command("MIGRATE", "127.0.0.1", port, *words)


@pytest.mark.parametrize("target", BOTH, indirect=True)
def test_keys_arrive_with_their_expiry_and_are_gone_here(source: Process, target: Process) -> None:
    target.client().config_set("requirepass", "secret")
    here, there = source.client(), target.client(password="secret", db=3)
    here.flushall()
    here.set("string", "x" * 1_000_000, px=60_000)
    here.rpush("list", *range(2000))
    here.zadd("zset", {"a": 1.5})
    keys = ["string", "none", "list", "zset"]
    assert migrate(source, target.port, "", 3, 5000, "AUTH", "secret", "KEYS", *keys) == "OK"
    assert here.dbsize() == 0
    assert there.get("string") == "x" * 1_000_000
    assert 0 < there.pttl("string") <= 60_000
    assert there.lrange("list", 0, -1) == [str(n) for n in range(2000)]
    assert there.zscore("zset", "a") == 1.5
    assert migrate(source, target.port, "string", 3, 5000) == "NOKEY"


def test_a_key_that_is_there_stays_here_unless_it_is_replaced(
    source: Process, target: Process
) -> None:
    here, there = source.client(), target.client()
    here.flushall()
    here.mset({"a": 1, "b": 2, "c": 3})
    there.set("b", "old")
    with pytest.raises(redis.ResponseError, match="replied with error: BUSYKEY"):
        migrate(source, target.port, "", 0, 5000, "KEYS", "a", "b", "c")
    assert here.keys() == ["b"]
    assert migrate(source, target.port, "b", 0, 5000, "COPY", "REPLACE") == "OK"
    assert there.get("b") == "2"
    assert here.get("b") == "2"


def test_a_wrong_password_moves_nothing(source: Process, target: Process) -> None:
    target.client().config_set("requirepass", "secret")
    source.client().set("k", "v")
    for words in (("AUTH", "wrong"), ("AUTH2", "default", "wrong")):
        with pytest.raises(redis.ResponseError, match="WRONGPASS"):
            migrate(source, target.port, "k", 0, 5000, *words)
    assert source.client().get("k") == "v"


def test_the_deletion_travels_and_a_transaction_may_hold_it(
    source: Process, target: Process, tmp_path: Path
) -> None:
    follower = Process(OURS, tmp_path / "follower", [f"replicaof 127.0.0.1 {source.port}"])
    follower.start()
    here = source.client()
    try:
        here.mset({"k1": 1, "k2": 2})
        wait_for(lambda: follower.client().exists("k1", "k2") == 2, "the follower to have both")
        assert migrate(source, target.port, "k1", 0, 5000) == "OK"
        with here.pipeline() as unit:
            unit.execute_command("MIGRATE", "127.0.0.1", target.port, "k2", 0, 5000)
            assert unit.execute() == ["OK"]
        wait_for(lambda: not follower.client().exists("k1", "k2"), "the follower to have none")
    finally:
        follower.kill()


def test_a_kept_connection_that_was_closed_is_opened_anew(source: Process, target: Process) -> None:
    here, there = source.client(), target.client()
    here.mset({"k1": 1, "k2": 2})
    migrate(source, target.port, "k1", 0, 5000)
    assert source.info("stats")["migrate_cached_sockets"] >= 1
    there.client_kill_filter(_type="normal", skipme=True)
    assert migrate(source, target.port, "k2", 0, 5000) == "OK"


def test_while_the_other_end_is_silent_reads_are_served_and_writes_wait(source: Process) -> None:
    here = source.client()
    here.set("k", "v")
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(2) as threads:
        port = silent.getsockname()[1]
        moving = threads.submit(migrate, source, port, "k", 0, 1000)
        wait_for(lambda: source.info("clients")["blocked_clients"] == 1, "the client to wait")
        began = time.monotonic()
        writing = threads.submit(source.client().set, "k", "new")
        assert here.get("k") == "v"
        assert time.monotonic() - began < 0.5
        assert not writing.done()
        with pytest.raises(redis.ResponseError, match="IOERR error or timeout reading"):
            moving.result(10)
        assert writing.result(10)
    assert here.get("k") == "new"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("k", 0, 10, "KEYS", "a"), "the key argument must be set to the empty string"),
        (("k", 0, 10, "AUTH"), "syntax error"),
        (("k", 0, 10, "AUTH2", "a"), "syntax error"),
        (("k", "x", 10), "value is not an integer or out of range"),
        (("k", 0, 10), "IOERR error or timeout connecting to the client"),
    ],
)
def test_a_wrong_request_is_refused(source: Process, words: tuple[Any, ...], text: str) -> None:
    source.client().set("k", "v")
    with pytest.raises(redis.ResponseError, match=text):
        migrate(source, free_port(), *words)
    assert source.client().get("k") == "v"
