"""A leader that comes back with writes of its own: it rewinds, and nothing is lost in silence."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from typer.testing import CliRunner

from cache_server.cli.admin import app as cachectl
from cache_server.disk import Disk
from cache_server.persistence.rollback import Discarded, RollbackReader
from tests.integration.processes import (
    OUR_SENTINEL,
    OURS,
    Cluster,
    Process,
    free_port,
    wait_for,
)

pytestmark = pytest.mark.integration

FAST = ["repl-diskless-sync-delay 0", 'save ""', "repl-ping-replica-period 1"]
WRITES = 10_000


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for it, also on a busy machine."""
    return wait_for(condition, what, 60)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    """Starts nodes on request: `nodes(*lines)`."""
    started: list[Process] = []

    def start(*lines: str) -> Process:
        node = Process(OURS, tmp_path / f"node{len(started)}", [*FAST, *lines])
        started.append(node)
        node.start()
        return node

    yield start
    for node in started:
        node.kill()


def link_up(node: Process) -> bool:
    info = node.info()
    return bool(info["role"] == "slave" and info["master_link_status"] == "up")


def same(one: Process, other: Process) -> bool:
    digests = {node.client().execute_command("DEBUG", "DIGEST") for node in (one, other)}
    return len(digests) == 1


def discarded(node: Process) -> list[Discarded]:
    """What the only rollback file of a node holds."""
    (path,) = node.folder.glob("rollback-*.aof")
    assert node.info()["last_rollback_file"] == str(path)
    return list(RollbackReader(Disk(), str(path)).commands())


def pair(nodes: Any, *lines: str) -> tuple[Process, Process]:
    """A leader, and a follower that is caught up."""
    leader = nodes("enable-debug-command yes", *lines)
    follower = nodes("enable-debug-command yes", f"replicaof 127.0.0.1 {leader.port}", *lines)
    client = leader.client()
    client.set("counter", 5)
    client.rpush("list", *range(10))
    until(lambda: follower.client().llen("list") == 10, "the follower to catch up")
    return leader, follower


def diverge(leader: Process, follower: Process) -> list[list[bytes]]:
    """Cuts the follower off for good and writes on; returns what was written."""
    follower.client().replicaof("127.0.0.1", free_port())
    until(lambda: leader.info()["connected_slaves"] == 0, "the link to be gone")
    written: list[list[bytes]] = []
    pipe = leader.client().pipeline(transaction=False)
    for at in range(WRITES - 3):
        words = [b"SET", b"tail:%d" % at, b"value %d" % at]
        written.append(words)
        pipe.execute_command(*words)
    for words in ([b"INCR", b"counter"], [b"LPOP", b"list"], [b"DEL", b"tail:0"]):
        written.append(words)
        pipe.execute_command(*words)
    pipe.execute()
    return written


def test_the_old_leader_rewinds_without_a_full_sync(nodes: Any) -> None:
    leader, follower = pair(nodes)
    written = diverge(leader, follower)
    follower.client().replicaof("NO", "ONE")
    new = follower.client()
    new.incr("counter")
    new.set("tail:1", "of the new leader")
    new.copy("tail:1", "copied")
    leader.client().replicaof("127.0.0.1", follower.port)
    until(lambda: link_up(leader), f"the old leader to rewind: {leader.log()}")
    until(lambda: same(leader, follower), "the data to be the same")
    assert new.info("stats")["sync_full"] == 0
    assert new.info("stats")["sync_partial_ok"] == 1
    found = discarded(leader)
    assert [one.words for one in found] == written
    assert all(one.database == 0 for one in found)
    assert leader.client().get("counter") == "6"
    assert leader.client().get("tail:2") is None
    new.incr("counter")
    until(lambda: leader.client().get("counter") == "7", "the stream to go on")
    assert same(leader, follower)
    replays(leader, follower)


def replays(old: Process, new: Process) -> None:
    """The discarded writes can be done again, by key or all of them."""
    path = old.info()["last_rollback_file"]
    to = f"127.0.0.1:{new.port}"
    asked = ["rollback", "replay", path, "--yes", "--to"]
    told = CliRunner().invoke(cachectl, [*asked, f"127.0.0.1:{old.port}"])
    assert told.exit_code == 1
    told = CliRunner().invoke(cachectl, [*asked, to, "--match", "tail:12", "--dry-run"])
    assert "1 commands would be sent" in told.output
    assert new.client().get("tail:12") is None
    told = CliRunner().invoke(cachectl, [*asked, to])
    assert told.exit_code == 0, told.output
    assert f"{WRITES} commands done" in told.output
    client = new.client()
    assert client.get("tail:12") == "value 12"
    assert client.exists("tail:0") == 0
    assert client.get("counter") == "8"
    assert client.lrange("list", 0, 0) == ["1"]


def test_a_node_made_independent_by_hand_is_rebuilt_and_its_writes_are_kept(nodes: Any) -> None:
    leader, follower = pair(nodes)
    client = follower.client()
    client.replicaof("NO", "ONE")
    client.set("diverge", 1)
    leader.client().set("other", 1)
    client.replicaof("127.0.0.1", leader.port)
    until(lambda: link_up(follower) and same(leader, follower), "the full sync")
    assert leader.info("stats")["sync_full"] == 2
    assert [one.words for one in discarded(follower)] == [[b"SET", b"diverge", b"1"]]


def test_a_killed_leader_with_a_log_rewinds_and_restarts_whole(nodes: Any) -> None:
    leader, follower = pair(nodes, "appendonly yes")
    written = diverge(leader, follower)
    leader.kill()
    follower.client().replicaof("NO", "ONE")
    follower.client().incr("counter")
    leader.start()
    leader.client().replicaof("127.0.0.1", follower.port)
    until(lambda: link_up(leader), f"the old leader to rewind: {leader.log()}")
    until(lambda: same(leader, follower), "the data to be the same")
    assert follower.info("stats")["sync_full"] == 0
    assert [one.words for one in discarded(leader)] == written
    until(
        lambda: leader.info("persistence")["aof_rewrite_in_progress"] == 0,
        "the log to be that of the new history",
    )
    leader.kill()
    leader.start()
    leader.client().replicaof("127.0.0.1", follower.port)
    follower.client().incr("counter")
    until(lambda: leader.client().get("counter") == "7", "the stream to go on")
    assert same(leader, follower)
    assert follower.info("stats")["sync_full"] == 0
    assert len(list(leader.folder.glob("rollback-*.aof"))) == 1


def part(leader: Process, follower: Process, tail: list[tuple[Any, ...]]) -> None:
    """The leader, cut off from its follower, runs `tail`; the follower leads meanwhile."""
    follower.client().replicaof("127.0.0.1", free_port())
    until(lambda: leader.info()["connected_slaves"] == 0, "the link to be gone")
    follower.client().replicaof("NO", "ONE")
    pipe = leader.client().pipeline(transaction=False)
    for words in tail:
        pipe.execute_command(*words)
    pipe.execute()
    leader.client().replicaof("127.0.0.1", follower.port)


def test_a_tail_longer_than_the_backlog_comes_from_the_log_or_is_kept_in_part(nodes: Any) -> None:
    tail = [("SET", f"tail:{at}", "x" * 1000) for at in range(200)]
    with_log, heir = pair(nodes, "appendonly yes", "repl-backlog-size 16kb")
    part(with_log, heir, tail)
    until(lambda: link_up(with_log) and same(with_log, heir), "the rewind, out of the log")
    assert heir.info("stats")["sync_full"] == 0
    assert [one.words[1].decode() for one in discarded(with_log)] == [key for _, key, _ in tail]
    without, heir = pair(nodes, "repl-backlog-size 16kb")
    part(without, heir, tail)
    until(lambda: link_up(without) and same(without, heir), "the full sync")
    assert heir.info("stats")["sync_full"] == 1
    found = [one.words[1].decode() for one in discarded(without)]
    assert 0 < len(found) < len(tail)
    assert found == [key for _, key, _ in tail][-len(found) :]
    info = without.info()
    assert info["last_rollback_lost_before_offset"] == info["last_rollback_start_offset"]
    assert "could not be kept" in (without.folder / "output.log").read_text()


def test_what_cannot_be_rewound_is_kept_and_what_cannot_be_kept_is_not_given_up(nodes: Any) -> None:
    leader, follower = pair(nodes, "enable-protected-configs yes")
    (leader.folder / "gone").mkdir()
    leader.client().config_set("dir", str(leader.folder / "gone"))
    (leader.folder / "gone").rmdir()
    part(leader, follower, [("SET", "k", "1"), ("FLUSHALL",)])
    until(lambda: leader.info().get("last_rollback_status") == "err", "the refusal to be told")
    assert leader.info()["master_link_status"] == "down"
    assert follower.info("stats")["sync_full"] == 0
    (leader.folder / "gone").mkdir()
    until(lambda: link_up(leader) and same(leader, follower), "the full sync")
    assert follower.info("stats")["sync_full"] == 1
    assert leader.info()["last_rollback_status"] == "ok"
    path = leader.info()["last_rollback_file"]
    found = [one.words[0] for one in RollbackReader(Disk(), path).commands()]
    assert found == [b"SET", b"FLUSHALL"]


def test_a_tail_beyond_the_limit_is_not_given_up_until_there_is_room(nodes: Any) -> None:
    leader, follower = pair(nodes, "replication-rollback-max-bytes 1kb")
    part(leader, follower, [("SET", f"tail:{at}", "x" * 100) for at in range(20)])
    until(lambda: leader.info().get("last_rollback_status") == "err", "the refusal to be told")
    assert leader.client().get("tail:19") == "x" * 100, "what is not kept is not given up"
    assert leader.info()["rollback_files"] == leader.info()["rollback_files_bytes"] == 0
    leader.client().config_set("replication-rollback-max-bytes", "1mb")
    until(lambda: link_up(leader) and same(leader, follower), "the rewind")
    assert follower.info("stats")["sync_full"] == 0
    assert len(discarded(leader)) == 20
    assert leader.info()["rollback_files_bytes"] > 2000


def test_a_leader_replaced_by_sentinels_rewinds_by_itself(tmp_path: Path) -> None:
    settings = (
        "appendonly yes",
        "auto-aof-rewrite-percentage 0",
        "repl-backlog-size 256mb",
        'save ""',
    )
    with Cluster(tmp_path, OURS, OUR_SENTINEL, followers=1, extra=settings) as cluster:
        leader, follower = cluster.nodes
        follower.send(signal.SIGSTOP)
        client = leader.client(socket_timeout=30, retry=Retry(NoBackoff(), 0))
        pipe = client.pipeline(transaction=False)
        for at in range(300):
            pipe.set(f"tail:{at}", "x" * 100_000)
        with contextlib.suppress(redis.RedisError):  # a leader may lose its lease meanwhile
            pipe.execute()
        leader.kill()
        follower.send(signal.SIGCONT)
        new = cluster.wait_for_new_leader(leader.port, 60)
        until(lambda: new.client().set("of the new leader", 1), "the new leader to write")
        leader.start()
        until(lambda: link_up(leader), f"the old leader to rewind: {leader.log()}")
        assert new.info("stats")["sync_full"] == 0
        given_up = [one.words[1].decode() for one in discarded(leader)]
        kept = set(new.client().keys("tail:*"))
        assert given_up
        assert given_up == [f"tail:{at}" for at in range(len(kept), len(kept) + len(given_up))]
        until(lambda: leader.client().get("of the new leader") == "1", "the stream")
        assert set(leader.client().keys()) == set(new.client().keys())
