"""What people point at a Redis, pointed at ours unchanged: redis-cli, redis-benchmark, redis-py."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from tests.integration.processes import OURS, Process, free_port, needs, wait_for

pytestmark = [pytest.mark.integration]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(OURS, tmp_path_factory.mktemp("clients") / "node", ['save ""'])
    process.start()
    yield process
    process.kill()


def cli(server: Process, *words: str, stdin: str | None = None) -> str:
    line = ["redis-cli", "-p", str(server.port), *words]
    done = subprocess.run(
        line, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout.strip()


@needs("redis-benchmark")
@pytest.mark.parametrize("pipeline", ["1", "16"])
def test_redis_benchmark_completes_every_default_test(server: Process, pipeline: str) -> None:
    done = subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-q", "-n", "2000", "-P", pipeline],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rror" not in done.stdout + done.stderr
    tests = [line for line in done.stdout.replace("\r", "\n").splitlines() if "p50" in line]
    assert len(tests) >= 20, done.stdout


@needs("redis-cli")
def test_redis_cli_speaks_both_protocols_and_reads_pipes(server: Process) -> None:
    cli(server, "flushall")
    assert cli(server, "set", "k", "a b") == "OK"
    assert cli(server, "-3", "hset", "h", "f", "1") == "1"
    assert cli(server, "-3", "--json", "hgetall", "h") == '{"f":"1"}'
    assert "wrong number of arguments for 'get' command" in cli(server, "get")
    assert "errors: 0, replies: 2" in cli(server, "--pipe", stdin="SET a 1\r\nSET b 2\r\n")
    assert sorted(cli(server, "--scan").split()) == ["a", "b", "h", "k"]
    assert "Biggest string found" in cli(server, "--bigkeys")


def test_redis_py_pipelines_transactions_and_scripts_of_commands(server: Process) -> None:
    client = server.client()
    client.flushall()
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", 1).incr("a").rpush("l", 1, 2, 3).lrange("l", 0, -1)
        assert pipe.execute() == [True, 2, 3, ["1", "2", "3"]]
    watching = client.pipeline()
    watching.watch("a")
    watching.multi()
    watching.incr("a")
    client.set("a", 10)
    with pytest.raises(redis.WatchError):
        watching.execute()
    assert client.get("a") == "10"
    assert sorted(client.scan_iter(match="*")) == ["a", "l"]


def test_a_redis_py_lock_is_held_by_one_and_given_on(server: Process) -> None:
    client = server.client()
    client.flushall()
    lock = client.lock("resource", timeout=60, thread_local=False)
    assert lock.acquire(blocking=False)
    assert not client.lock("resource", timeout=60).acquire(blocking=False)
    assert lock.extend(30)
    assert lock.reacquire()
    done: list[bool] = []

    def wait_and_hold() -> None:
        with server.client().lock("resource", timeout=60, sleep=0.01):
            done.append(True)

    waiter = threading.Thread(target=wait_and_hold)
    waiter.start()
    assert not done
    lock.release()
    waiter.join(30)
    assert done == [True]
    with pytest.raises(redis.exceptions.LockError):
        lock.release()
    assert client.exists("resource") == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_asyncio_blocks_publishes_and_subscribes(server: Process, protocol: int) -> None:
    async def story() -> None:
        client = redis.asyncio.Redis(port=server.port, protocol=protocol, decode_responses=True)
        await client.flushall()
        subscriber = client.pubsub()
        await subscriber.subscribe("news")
        assert (await subscriber.get_message(timeout=10))["type"] == "subscribe"
        waiting = asyncio.create_task(client.blpop(["jobs"], timeout=10))
        while (await client.info("clients"))["blocked_clients"] == 0:
            await asyncio.sleep(0.01)
        await client.rpush("jobs", "one")
        assert list(await waiting) == ["jobs", "one"]
        assert await client.publish("news", "hello") == 1
        message = await subscriber.get_message(timeout=10)
        assert (message["channel"], message["data"]) == ("news", "hello")
        await subscriber.aclose()
        await client.aclose()

    asyncio.run(story())


def test_hostile_bytes_cost_only_their_sender(server: Process) -> None:
    bystander = server.client()
    for hostile, answer in (
        (b"*3\r\n$3\r\nSET\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\nPING\r\n", b"-ERR Protocol error: expected '$', got 'P'\r\n"),
        (b"set 'open\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sender:
            sender.sendall(hostile)
            received = b""
            while data := sender.recv(4096):
                received += data
        assert received == answer
        assert bystander.ping()


def test_a_client_that_does_not_read_is_not_read_from(server: Process) -> None:
    client = server.client()
    client.set("large", "x" * 1_000_000)
    before = client.info("memory")["used_memory"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as greedy:
        greedy.sendall(b"GET large\r\n" * 500)
        wait_for(client.ping, "others to be served")
        assert client.info("memory")["used_memory"] - before < 50_000_000


def start_and_fail(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [*OURS, "--dir", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_start_that_cannot_be_says_why_in_one_line_and_exits(
    server: Process, tmp_path: Path
) -> None:
    taken = start_and_fail(tmp_path, "--port", str(server.port))
    assert taken.returncode == 1
    assert "Failed listening on port" in taken.stdout
    unknown = start_and_fail(tmp_path, "--port", str(free_port()), "--no-such-setting", "1")
    assert unknown.returncode == 1
    assert "no-such-setting" in unknown.stderr
    damaged = tmp_path / "dump.rdb"
    damaged.write_bytes(b"REDIS0010\xfe\x00\x00\x01k\x01v\xff" + b"\x01" * 8)
    refused = start_and_fail(tmp_path, "--port", str(free_port()))
    assert refused.returncode == 1
    assert damaged.read_bytes().startswith(b"REDIS0010")
    assert len(list(tmp_path.iterdir())) == 1
