"""Scripts that run for seconds, beside replication and in a log: nobody is cut off, nothing is
lost."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.processes import OURS, Process, wait_for

pytestmark = pytest.mark.integration

SETTINGS = [
    "repl-diskless-sync-delay 0",
    'save ""',
    "enable-debug-command yes",
    "busy-reply-threshold 100",
    "repl-ping-replica-period 1",
]
#: A script runs so long, and writes before and behind. With 20 it is twice as long as the leader's
#: repl-timeout, for a longer look.
SCRIPT_S = int(os.environ.get("TEST_BUSY_SCRIPT_S", "1"))
SCRIPT = (
    "redis.call('set', KEYS[1], 'begun')"
    " local function now() local t = redis.call('time') return t[1] + t[2] / 1000000 end"
    f" local t = now() while now() - t < {SCRIPT_S} do for i = 1, 10000 do end end"
    " redis.call('set', KEYS[1], 'done') return redis.call('incr', 'runs')"
)
KEYS = 1000


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for it, also on a busy machine."""
    return wait_for(condition, what, 60)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    """Makes processes that end with the test."""
    made: list[Process] = []

    def make(*lines: str) -> Process:
        made.append(Process(OURS, tmp_path / f"node{len(made)}", [*SETTINGS, *lines]))
        return made[-1]

    yield make
    for node in made:
        node.kill()


def link_up(node: Process) -> bool:
    return bool(node.info().get("master_link_status") == "up")


def digest(node: Process) -> str:
    return str(node.client(socket_timeout=60).execute_command("DEBUG", "DIGEST"))


def is_busy(node: Process) -> bool:
    try:
        node.client().ping()
    except redis.ResponseError as error:
        return "Redis is busy running a script" in str(error)
    return False


def run_script(node: Process, key: str) -> threading.Thread:
    """Begins it, and waits until it has been noticed."""
    client = node.client(socket_timeout=120)

    def run() -> None:
        client.eval(SCRIPT, 1, key)
        client.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: is_busy(node), "the script to be busy")
    return thread


def test_a_busy_leader_loses_no_follower_that_synchronizes_or_streams(nodes: Any) -> None:
    leader, follower = nodes("rdb-key-save-delay 500", "repl-timeout 10"), nodes()
    leader.start()
    leader.client(socket_timeout=60).execute_command("DEBUG", "POPULATE", KEYS, "key", 1000)
    follower.start()
    follower.client().replicaof("127.0.0.1", leader.port)
    until(lambda: follower.info().get("master_sync_in_progress"), "the full sync to begin")
    run_script(leader, "while it synchronizes").join(60)
    until(lambda: link_up(follower), f"the full sync: {follower.log()} {leader.log()}")
    assert leader.info("stats")["sync_full"] == 1
    run_script(leader, "in the stream").join(60)
    until(lambda: follower.client().get("runs") == "2", f"the stream: {follower.log()}")
    until(lambda: link_up(follower), "the link")
    assert digest(leader) == digest(follower)
    assert leader.info("stats")["sync_full"] == 1
    assert leader.info("stats")["sync_partial_ok"] == 0


def test_a_script_in_a_log_may_run_long_and_cannot_be_killed(nodes: Any) -> None:
    node = nodes("appendonly yes")
    words = ["EVAL", SCRIPT, "1", "of the log"]
    request = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    (node.folder / "appendonly.aof").write_text(f"*{len(words)}\r\n{request}", newline="")
    node.spawn()
    until(lambda: b"Slow script" in log_of(node), "the script to be busy")
    assert answer(node, b"SCRIPT KILL\r\n").startswith((b"-LOADING ", b"-UNKILLABLE "))
    until(lambda: answer(node, b"GET runs\r\n") == b"$1\r\n1\r\n", "the log to be loaded")
    assert node.client().get("of the log") == "done"


def log_of(node: Process) -> bytes:
    return (node.folder / "output.log").read_bytes()


def answer(node: Process, request: bytes) -> bytes:
    """What a newcomer gets, without the greetings of a client library."""
    with socket.create_connection(("127.0.0.1", node.port), 60) as newcomer:
        newcomer.sendall(request)
        return newcomer.recv(1000)
