"""redis-cli's tools, each run against ours: what they count, copy, watch and measure is right."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.processes import OURS, Process, needs, wait_for

pytestmark = [pytest.mark.integration, needs("redis-cli")]

SECONDS_MAX = 60
LIBRARY = "#!lua name=library\nredis.register_function('seven', function() return 7 end)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("redis-cli") / "node"
    process = Process(OURS, folder, ['save ""', "repl-diskless-sync-delay 0"])
    process.start()
    yield process
    process.kill()


@pytest.fixture(autouse=True)
def data(server: Process) -> None:
    """200 small strings, one large, a list, a set, a hash, a sorted set and a stream."""
    client = server.client()
    client.flushall()
    with client.pipeline() as pipe:
        for number in range(200):
            pipe.set(f"small:{number}", number)
        pipe.set("large", "x" * 10_000)
        pipe.rpush("list", *range(300))
        pipe.sadd("set", *range(40))
        pipe.hset("hash", mapping={f"f{n}": n for n in range(50)})
        pipe.zadd("zset", {f"m{n}": n for n in range(60)})
        pipe.xadd("stream", {"f": "v"}, id="1-1")
        pipe.execute()


def cli(server: Process, *words: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["redis-cli", "-p", str(server.port), *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def watching(server: Process, folder: Path, *words: str) -> Iterator[Path]:
    """Runs a redis-cli that ends only when it is ended: the file of what it prints."""
    path = folder / "output"
    with open(path, "wb") as output:
        command = ["redis-cli", "-p", str(server.port), *words]
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield path
        finally:
            process.kill()
            process.wait()


def test_bigkeys_names_the_biggest_of_each_type(server: Process) -> None:
    output = cli(server, "--bigkeys")
    assert "Sampled 206 keys in the keyspace" in output
    for line in (
        "Biggest   list found '\"list\"' has 300 items",
        "Biggest   hash found '\"hash\"' has 50 fields",
        "Biggest string found '\"large\"' has 10000 bytes",
        "Biggest    set found '\"set\"' has 40 members",
        "Biggest   zset found '\"zset\"' has 60 members",
        "Biggest stream found '\"stream\"' has 1 entries",
    ):
        assert line in output, output


def test_memkeys_weighs_every_key(server: Process) -> None:
    output = cli(server, "--memkeys")
    assert "Sampled 206 keys in the keyspace" in output
    found = re.search(r"Biggest string found '\"large\"' has (\d+) bytes", output)
    assert found is not None, output
    assert int(found[1]) >= 10_000


def test_scan_lists_keys_by_pattern_and_type(server: Process) -> None:
    assert len(set(cli(server, "--scan").split())) == 206
    assert len(set(cli(server, "--scan", "--pattern", "small:1?").split())) == 10
    # Its option --type is only an argument of SCAN.
    reply = cli(server, "scan", "0", "count", "1000", "type", "zset")
    assert reply.split()[1:] == ["zset"]


def test_stat_counts_keys_and_requests(server: Process, tmp_path: Path) -> None:
    with watching(server, tmp_path, "--stat", "-i", "0.05") as path:
        rows = wait_for(
            lambda: [row.split() for row in path.read_text().splitlines() if row[:3] == "206"],
            "rows with the number of keys",
        )
    assert all(len(row) >= 6 for row in rows[:1]), rows


def test_latency_is_measured(server: Process, tmp_path: Path) -> None:
    with watching(server, tmp_path, "--latency", "--raw", "-i", "0.1") as path:
        wait_for(lambda: len(path.read_text().split()) >= 4, "min, max, average and count")
    least, most, average, count = map(float, path.read_text().split()[:4])
    assert least <= average <= most
    assert count >= 1


def test_pipe_loads_requests_in_mass(server: Process) -> None:
    requests = "".join(
        f"*3\r\n$3\r\nSET\r\n${len(key)}\r\n{key}\r\n$1\r\nv\r\n"
        for key in (f"mass:{n}" for n in range(20_000))
    )
    assert "errors: 0, replies: 20000" in cli(server, "--pipe", stdin=requests)
    assert server.client().dbsize() == 20_206


def test_rdb_copies_all_data_and_functions(server: Process, tmp_path: Path) -> None:
    client = server.client()
    client.function_load(LIBRARY, replace=True)
    copy = Process(OURS, tmp_path / "copy", ['save ""'])
    cli(server, "--rdb", str(tmp_path / "copy" / "dump.rdb"))
    try:
        copy.start()
        copied = copy.client()
        assert copied.dbsize() == 206
        assert copied.zrange("zset", 0, -1) == client.zrange("zset", 0, -1)
        assert copied.xrange("stream") == [("1-1", {"f": "v"})]
        assert copied.fcall("seven", 0) == 7
    finally:
        copy.kill()


def test_functions_rdb_copies_functions_alone(server: Process, tmp_path: Path) -> None:
    server.client().function_load(LIBRARY, replace=True)
    copy = Process(OURS, tmp_path / "copy", ['save ""'])
    cli(server, "--functions-rdb", str(tmp_path / "copy" / "dump.rdb"))
    try:
        copy.start()
        assert copy.client().dbsize() == 0
        assert copy.client().fcall("seven", 0) == 7
    finally:
        copy.kill()


def test_monitor_shows_what_others_ask(server: Process, tmp_path: Path) -> None:
    client = server.client()
    with watching(server, tmp_path, "MONITOR") as path:
        wait_for(lambda: "OK" in path.read_text(), "the monitor to begin")
        client.set("watched", 'a "quoted" \x01 value')
        client.eval("return redis.call('get', KEYS[1])", 1, "watched")
        wait_for(lambda: "lua" in path.read_text(), "the commands")
    lines = path.read_text()
    assert re.search(
        r'\d+\.\d{6} \[0 127\.0\.0\.1:\d+\] "SET" "watched" "a \\"quoted\\" \\x01 value"', lines
    )
    assert re.search(r'\[0 lua\] "get" "watched"', lines)


def test_replies_are_printed_for_people_scripts_and_tables(server: Process) -> None:
    assert cli(server, "--no-raw", "zrange", "zset", "0", "1") == '1) "m0"\n2) "m1"\n'
    assert cli(server, "--csv", "lrange", "list", "0", "1") == '"0","1"\n'
    assert cli(server, "--json", "-3", "hget", "hash", "f1") == '"1"\n'
    assert cli(server, "-x", "set", "from-stdin", stdin="text") == "OK\n"
    assert cli(server, "-n", "3", "dbsize") == "0\n"
    assert "a script's reply: 3" in cli(server, "eval", "return 'a script\\'s reply: '..3", "0")
