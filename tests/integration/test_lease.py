"""Never two writers, and nothing lost where the change is planned: with real processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from replication.failover.constants import LEASE_TTL_MS
from tests.integration.pause_times import Writer
from tests.integration.processes import OUR_SENTINEL, OURS, Cluster, Process, ask, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: More for a longer look: the figure that the README quotes was taken with 100.
FAILOVERS = int(os.environ.get("TEST_FAILOVERS", "5"))
RESTARTS = int(os.environ.get("TEST_RESTARTS", "2"))
WRITERS = 8


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, OURS, OUR_SENTINEL, extra=('save ""',)) as cluster:
        leader = cluster.nodes[0]
        wait_for(lambda: leader.info()["lease_managed"] == 1, "the leader to be under a lease")
        yield cluster


class Raw:
    """One connection without a client library: what was acknowledged is what came back."""

    def __init__(self, node: Process) -> None:
        self.link = socket.create_connection(("127.0.0.1", node.port), 5)

    def send(self, request: bytes) -> None:
        self.link.sendall(request)

    def reply(self, timeout_s: float = 5.0) -> bytes:
        """What comes first, b"" where the connection was closed."""
        self.link.settimeout(timeout_s)
        try:
            return self.link.recv(4096)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.link.close()


def test_a_leader_stopped_past_its_lease_acknowledges_nothing_when_it_goes_on(
    cluster: Cluster,
) -> None:
    old = cluster.by_port(cluster.leader_port())
    links = [Raw(old) for _ in range(WRITERS)]
    for link in links:
        link.send(b"SET before 1\r\n")
        assert link.reply() == b"+OK\r\n"

    old.send(signal.SIGSTOP)
    for number, link in enumerate(links):
        link.send(b"SET late:%d 1\r\nGET before\r\n" % number)
    new = cluster.wait_for_new_leader(old.port)
    wait_for(lambda: new.client().set("after", "1"), "the new leader to take writes")
    old.send(signal.SIGCONT)

    for link in links:
        answer = link.reply()
        assert not answer.startswith(b"+"), answer
        assert answer == b"" or answer.startswith(b"-READONLY"), answer
        link.close()
    cluster.wait_for_followers(new)
    with pytest.raises(redis.ReadOnlyError):
        old.client().set("x", "1")
    assert old.client().get("after") == "1"
    assert all(new.client().get(f"late:{number}") is None for number in range(WRITERS))


def test_a_leader_without_a_majority_of_sentinels_stops_writing_until_it_has_one(
    cluster: Cluster,
) -> None:
    leader = cluster.by_port(cluster.leader_port())
    for one in cluster.sentinels[:2]:
        one.send(signal.SIGSTOP)
    begun = time.monotonic()

    def refused() -> bool:
        try:
            leader.client().set("x", "1")
        except redis.ReadOnlyError:
            return True
        return False

    wait_for(refused, "writes to end", 10)
    assert time.monotonic() - begun < LEASE_TTL_MS / 1000 + 1
    assert leader.client().get("x") == "1"
    for one in cluster.sentinels[:2]:
        one.send(signal.SIGCONT)
    wait_for(lambda: not refused(), "writes to go on", 30)


def test_a_node_that_led_boots_read_only_until_sentinels_confirm_it(cluster: Cluster) -> None:
    leader = cluster.by_port(cluster.leader_port())
    for one in cluster.sentinels:
        one.kill()
    leader.kill()
    leader.start()
    with pytest.raises(redis.ReadOnlyError):
        leader.client().set("x", "1")
    for one in cluster.sentinels:
        one.start()

    def writes() -> bool:
        return bool(cluster.by_port(cluster.leader_port()).client().set("x", "1"))

    wait_for(writes, "a node with the history to lead")


def test_a_leader_that_comes_back_empty_at_once_takes_nothing_from_its_followers(
    cluster: Cluster,
) -> None:
    leader = cluster.by_port(cluster.leader_port())
    leader.client().set("kept", "1")
    wait_for(lambda: all(one.client().get("kept") for one in cluster.nodes), "all to have it")
    for _ in range(RESTARTS):
        leader = cluster.by_port(cluster.leader_port())
        followers = [node for node in cluster.nodes if node is not leader]
        leader.kill()
        leader.start()
        until = time.monotonic() + 10
        while cluster.leader_port() == leader.port and time.monotonic() < until:
            assert all(one.client().get("kept") == "1" for one in followers)
        new = cluster.wait_for_new_leader(leader.port)
        cluster.wait_for_followers(new)
        assert all(one.client().get("kept") == "1" for one in cluster.nodes)


def wait_for_more_writes(writers: list[Writer]) -> None:
    """Until each has written on, to whoever leads now."""
    done = [len(one.keys) for one in writers]
    wait_for(
        lambda: all(len(one.keys) > n + 20 for one, n in zip(writers, done)),
        "writes to the new leader",
    )


def stop_writers(writers: list[Writer]) -> list[str]:
    """Ends them; the keys whose writes were acknowledged."""
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join(10)
    return [key for writer in writers for key in writer.keys]


def test_failovers_by_hand_under_writers_lose_no_acknowledged_write(cluster: Cluster) -> None:
    writers = [Writer(cluster, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    new = cluster.by_port(cluster.leader_port())
    for turn in range(FAILOVERS):
        old, through = new, cluster.sentinels[turn % len(cluster.sentinels)]
        wait_for(
            lambda through=through: ask(through, "FAILOVER", cluster.name) == "OK",
            "SENTINEL FAILOVER to be accepted",
        )
        new = cluster.wait_for_new_leader(old.port)
        cluster.wait_for_followers(new)
    written = stop_writers(writers)
    client = new.client()
    assert len(written) > FAILOVERS * WRITERS
    lost = [key for key in written if not client.exists(key)]
    pause_ms = max(writer.longest_pause_s(0) for writer in writers) * 1000
    print(f"{len(written)} writes, {FAILOVERS} failovers, longest pause {pause_ms:.0f} ms")
    assert lost == []


def test_sigterm_hands_the_lead_over_first_and_loses_nothing(cluster: Cluster) -> None:
    writers = [Writer(cluster, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    old = cluster.by_port(cluster.leader_port())
    wait_for(lambda: all(len(one.keys) > 20 for one in writers), "writes")
    old.send(signal.SIGTERM)
    new = cluster.wait_for_new_leader(old.port)
    assert old.process is not None
    assert old.process.wait(15) == 0
    wait_for_more_writes(writers)
    written = stop_writers(writers)
    pause_ms = max(writer.longest_pause_s(0) for writer in writers) * 1000
    print(f"SIGTERM: {len(written)} writes, longest pause {pause_ms:.0f} ms")
    client = new.client()
    assert [key for key in written if not client.exists(key)] == []
