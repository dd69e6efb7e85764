"""cache-sentinel over data nodes, ours and stock ones: discovery, failover, commands, events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.sentinel import Sentinel

from tests.integration.processes import (
    OUR_SENTINEL,
    OURS,
    REDIS,
    Cluster,
    Process,
    ask,
    needs_redis,
    wait_for,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(
    params=[pytest.param(REDIS, marks=needs_redis, id="stock-nodes"), pytest.param(OURS, id="ours")]
)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, request.param, OUR_SENTINEL) as cluster:
        yield cluster


def sentinel_client(cluster: Cluster) -> Sentinel:
    places = [("127.0.0.1", one.port) for one in cluster.sentinels]
    return Sentinel(places, socket_timeout=1, sentinel_kwargs={"protocol": 2})  # type: ignore[no-untyped-call]


def write_until_accepted(client: Any, key: str) -> None:
    wait_for(lambda: client.set(key, "1"), f"a write of {key}")


def test_a_killed_leader_is_replaced_and_comes_back_as_a_follower(cluster: Cluster) -> None:
    python = sentinel_client(cluster)
    writer = python.master_for(cluster.name, socket_timeout=1)
    reader = python.slave_for(cluster.name, socket_timeout=1)
    write_until_accepted(writer, "before")
    assert writer.wait(2, 5000) == 2
    assert reader.get("before") == b"1"

    old = cluster.by_port(cluster.leader_port())
    old.kill()
    new = cluster.wait_for_new_leader(old.port)
    write_until_accepted(writer, "after")
    assert new.client().get("before") == "1"
    cluster.wait_for_followers(new)

    old.start()
    cluster.wait_for_followers(new)
    with pytest.raises(redis.ReadOnlyError):
        old.client().set("x", "1")
    wait_for(lambda: old.client().get("after") == "1", "the old leader to have what it missed")


def test_a_failover_by_hand_loses_nothing_and_can_go_back_and_forth(cluster: Cluster) -> None:
    writer = sentinel_client(cluster).master_for(cluster.name, socket_timeout=2)
    for turn in range(2):
        old = cluster.leader_port()
        wait_for(
            lambda: ask(cluster.sentinels[1], "FAILOVER", cluster.name) == "OK",
            "SENTINEL FAILOVER to be accepted",
        )
        new = cluster.wait_for_new_leader(old)
        write_until_accepted(writer, f"turn-{turn}")
        cluster.wait_for_followers(new)
    # A stock leader cannot be told to let its heir catch up first: it may lose what it took last.
    if new.command == OURS:
        assert [new.client().get(f"turn-{turn}") for turn in range(2)] == ["1", "1"]


def test_a_sentinel_that_was_killed_remembers_the_leader(cluster: Cluster) -> None:
    old = cluster.by_port(cluster.leader_port())
    old.kill()
    new = cluster.wait_for_new_leader(old.port)
    again = cluster.sentinels[2]
    before = ask(again, "MYID")
    # What the others would tell again is kept shortly after a change, not within it.
    monitor = f"sentinel monitor {cluster.name} 127.0.0.1 {new.port} "
    wait_for(
        lambda: monitor in again.conf.read_text(encoding="utf-8"), "the new leader in its file"
    )
    again.kill()
    again.start()
    assert cluster.leader_port(again) == new.port
    assert ask(again, "MYID") == before
    assert "sentinel known-replica" in again.conf.read_text(encoding="utf-8")


def test_events_are_published_by_redis_names(cluster: Cluster) -> None:
    # Each sentinel publishes what it saw itself: the one that hears of the new leader before it
    # missed the old one never says +sdown, and a quorum of the three must have.
    listeners = [one.client().pubsub() for one in cluster.sentinels]
    for one in listeners:
        one.psubscribe("*")
        assert one.get_message(timeout=5)["type"] == "psubscribe"
    seen: list[list[tuple[str, str]]] = [[] for _ in listeners]
    old = cluster.by_port(cluster.leader_port())
    old.kill()
    cluster.wait_for_new_leader(old.port)

    def switched() -> bool:
        for listener, events in zip(listeners, seen, strict=True):
            while (message := listener.get_message(timeout=0.1)) is not None:
                if message["type"] == "pmessage":
                    events.append((message["channel"], message["data"]))
        return all("+switch-master" in dict(events) for events in seen)

    wait_for(switched, "+switch-master at each sentinel")
    gone = f"master {cluster.name} 127.0.0.1 {old.port}"
    assert sum(("+sdown", gone) in events for events in seen) >= 2, seen
    for events in seen:
        words = dict(events)["+switch-master"].split()
        assert words[:3] == [cluster.name, "127.0.0.1", str(old.port)]
        assert int(words[4]) == cluster.leader_port()


@needs_redis
def test_commands_answer_as_redis_sentinel_does(tmp_path: Path) -> None:
    # A node each: two sentinels of one node would discover each other.
    nodes = [Process(REDIS, tmp_path / f"node-{number}", []) for number in range(2)]
    ours = Process(OUR_SENTINEL, tmp_path / "ours", [])
    stock = Process(["redis-sentinel"], tmp_path / "stock", [])
    try:
        for one in (*nodes, ours, stock):
            one.start()
        for words in SAME_REPLIES:
            assert _answer(ours, nodes[0], words) == _answer(stock, nodes[1], words), words
    finally:
        for one in (*nodes, ours, stock):
            one.kill()


#: Asked in this order; {port} is the data node's.
SAME_REPLIES = [
    ("MASTERS",),
    ("MASTER", "m"),
    ("GET-MASTER-ADDR-BY-NAME", "m"),
    ("MONITOR", "m", "127.0.0.1", "{port}", "0"),
    ("MONITOR", "m", "127.0.0.1", "x", "1"),
    ("MONITOR", "m", "no such host", "{port}", "1"),
    ("MONITOR", "m", "127.0.0.1", "{port}", "2"),
    ("MONITOR", "m", "127.0.0.1", "{port}", "2"),
    ("GET-MASTER-ADDR-BY-NAME", "m"),
    ("SET", "m", "quorum", "1"),
    ("CKQUORUM", "m"),
    ("CKQUORUM", "x"),
    ("SET", "m", "down-after-milliseconds", "-20"),
    ("SET", "m", "down-after-milliseconds", "abc"),
    ("SET", "m", "fakeoption"),
    ("SET", "m", "fakeoption", "fakevalue"),
    ("SET", "m", "notification-script", "test.txt"),
    ("SET", "m", "quorum", "1", "parallel-syncs", "3"),
    ("SENTINELS", "m"),
    ("REPLICAS", "m"),
    ("SLAVES", "x"),
    ("PENDING-SCRIPTS",),
    ("CONFIG", "GET", "announce*"),
    ("CONFIG", "SET", "announce-port", "70000"),
    ("CONFIG", "SET", "announce-port", "7000"),
    ("CONFIG", "GET", "announce-port"),
    ("CONFIG", "SET", "nothing", "1"),
    ("CONFIG", "SET", "announce-port"),
    ("DEBUG",),
    ("DEBUG", "ping-period", "500"),
    ("DEBUG", "ping-period", "x"),
    ("DEBUG", "nothing", "1"),
    ("SIMULATE-FAILURE", "help"),
    ("SIMULATE-FAILURE", "nothing"),
    ("IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "{port}", "0", "*"),
    ("IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "1", "0", "*"),
    ("IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "x", "0", "*"),
    ("FLUSHCONFIG",),
    ("FAILOVER", "m"),
    ("FAILOVER", "x"),
    ("RESET", "M"),
    ("RESET", "*"),
    ("RESET", "x"),
    ("NOSUCH",),
    ("REMOVE", "x"),
    ("REMOVE", "m"),
]


def _answer(sentinel: Process, node: Process, words: tuple[str, ...]) -> object:
    """The reply, with the node's port as PORT."""
    try:
        reply: object = ask(sentinel, *(word.format(port=node.port) for word in words))
    except redis.ResponseError as error:
        reply = str(error)
    return _without_port(reply, str(node.port))


def _without_port(reply: object, port: str) -> object:
    if isinstance(reply, list):
        return [_without_port(part, port) for part in reply]
    return reply.replace(port, "PORT") if isinstance(reply, str) else reply


def test_a_wrong_configuration_names_the_line_and_opens_no_port(tmp_path: Path) -> None:
    lines = ["sentinel monitor m 127.0.0.1 6379 2", "sentinel parallel-syncs x 1"]
    broken = Process(OUR_SENTINEL, tmp_path / "broken", lines)
    with pytest.raises(AssertionError) as error:
        broken.start()
    assert broken.process is not None
    assert broken.process.wait(10) == 1
    assert "at line 4" in broken.log()
    assert "No such master with specified name." in broken.log()
    assert error is not None


def test_a_damaged_state_file_is_refused(tmp_path: Path) -> None:
    sentinel = Process(OUR_SENTINEL, tmp_path / "one", ["sentinel monitor m 127.0.0.1 1 1"])
    sentinel.start()
    wait_for((tmp_path / "one" / "node.conf.state").exists, "the state file")
    sentinel.kill()
    with open(tmp_path / "one" / "node.conf.state", "ab") as file:
        file.write(b"x")
    with pytest.raises(AssertionError):
        sentinel.start()
    assert "damaged" in sentinel.log()
