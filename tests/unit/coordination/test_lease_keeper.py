"""The data node's lease between machine, disk and the path of a write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_server.coordination import lease_keeper
from cache_server.coordination.lease_keeper import FOREVER_NS, LeaseKeeper
from cache_server.errors import InputError
from replication.failover.constants import LEASE_TTL_MS
from replication.failover.events import RespValue, WireError

SENTINELS = ("s1", "s2", "s3")


class Clock:
    """Both clocks of the module, moved by hand."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000_000

    def advance_ms(self, ms: float) -> None:
        self.ns += int(ms * 1_000_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(lease_keeper, "now_ns", lambda: clock.ns)
    monkeypatch.setattr(lease_keeper, "now_ms", lambda: clock.ns / 1e6)
    monkeypatch.setattr(lease_keeper.time, "monotonic_ns", lambda: clock.ns)
    return clock


class Node:
    """A data node around a keeper: what was done to it, in order."""

    def __init__(self, path: Path, leading: bool = True) -> None:
        self.done: list[Any] = []
        self.until_ns = FOREVER_NS
        self.keeper = LeaseKeeper(self, str(path), "boot", leading)

    def lead(self) -> None:
        self.done.append("lead")

    def follow(self, host: str, port: int) -> None:
        self.done.append((host, port))

    def writes_until(self, monotonic_ns: int) -> None:
        self.until_ns = monotonic_ns

    def learned(self, register: Any, epoch: int) -> None:
        self.register = register

    @property
    def node_id(self) -> bytes:
        return self.keeper.info_lines(lambda: True)["lease_node_id"].encode()

    def renew(self, sentinel: str, token: bytes = b"-", epoch: int = 1, who: bytes = b"") -> Any:
        place = [b"127.0.0.1", b"7000"]
        words = [b"RENEW", b"m", sentinel.encode(), b"3", b"%d" % epoch, who or self.node_id]
        return self.keeper.ask([*words, *place, token])

    def grant(self, *sentinels: str) -> None:
        """Both halves of a renewal by each of them."""
        for sentinel in sentinels:
            self.renew(sentinel, self.renew(sentinel)[3])


class Channel:
    """A channel whose client wrote, with a reply that waits to leave."""

    def __init__(self, gate: Any) -> None:
        self.gate = gate
        self.written = [b"+OK\r\n"]
        self.closed = False
        self.client = self.connection = self.writer = self
        self.peer = "127.0.0.1:1"

    def take(self) -> bytes:
        return self.written.pop()

    def close(self) -> None:
        self.closed = True


def test_a_node_that_no_sentinel_asked_about_writes_for_ever_and_keeps_no_file(
    tmp_path: Path, clock: Clock
) -> None:
    node = Node(tmp_path / "lease")
    assert node.keeper.info_lines(lambda: False) == {}
    assert node.until_ns == FOREVER_NS
    assert node.keeper.reply_gate is None
    assert os.listdir(tmp_path) == []


def test_an_id_told_to_a_sentinel_is_found_again_after_a_restart(
    tmp_path: Path, clock: Clock
) -> None:
    first = Node(tmp_path / "lease").node_id
    assert Node(tmp_path / "lease").node_id == first


def test_a_majority_of_grants_lends_writes_for_one_ttl(tmp_path: Path, clock: Clock) -> None:
    node = Node(tmp_path / "lease")
    node.grant("s1")
    assert node.until_ns == FOREVER_NS
    node.grant("s2")
    assert node.until_ns == clock.ns + LEASE_TTL_MS * 1_000_000
    clock.advance_ms(LEASE_TTL_MS - 1)
    assert node.keeper.writable
    clock.advance_ms(1)
    assert not node.keeper.writable


def test_the_reply_to_a_write_leaves_only_while_the_lease_lasts(
    tmp_path: Path, clock: Clock
) -> None:
    node = Node(tmp_path / "lease")
    node.grant(*SENTINELS)
    in_time, late = Channel(node.keeper.reply_gate), Channel(node.keeper.reply_gate)
    assert in_time.gate(in_time)
    assert in_time.gate is None
    clock.advance_ms(LEASE_TTL_MS)
    assert not late.gate(late)
    assert (late.closed, late.written) == (True, [])


def test_a_node_that_was_under_a_lease_boots_read_only_until_confirmed(
    tmp_path: Path, clock: Clock
) -> None:
    Node(tmp_path / "lease").grant(*SENTINELS)
    again = Node(tmp_path / "lease")
    assert again.until_ns == 0
    assert not again.keeper.writable
    again.grant("s1", "s2")
    assert not again.keeper.writable
    for sentinel in ("s1", "s2"):
        again.renew(sentinel, again.renew(sentinel, epoch=2)[3], epoch=2)
    assert again.keeper.writable


def test_another_leader_of_a_higher_epoch_fences_and_is_followed(
    tmp_path: Path, clock: Clock
) -> None:
    node = Node(tmp_path / "lease")
    node.grant(*SENTINELS)
    words = [b"EPOCH", b"m", b"2", b"somebody", b"127.0.0.1", b"7001"]
    assert node.keeper.ask(words) == b"OK"
    assert node.until_ns == 0
    assert node.done == [("127.0.0.1", 7001)]


def test_a_follower_that_the_register_names_is_told_to_lead(tmp_path: Path, clock: Clock) -> None:
    node = Node(tmp_path / "lease", leading=False)
    words = [b"EPOCH", b"m", b"2", node.node_id, b"127.0.0.1", b"7001"]
    assert node.keeper.ask(words) == b"OK"
    assert node.done == ["lead"]
    assert not node.keeper.writable


def test_a_released_lease_names_the_heir_and_is_never_counted_again(
    tmp_path: Path, clock: Clock
) -> None:
    node = Node(tmp_path / "lease")
    node.grant(*SENTINELS)
    token = node.renew("s1")[3]
    node.keeper.role_changed(False)
    node.keeper.given_up("127.0.0.1", 7001)
    assert node.until_ns == 0
    assert node.renew("s1", token)[2:] == (0, b"released", b"127.0.0.1", b"7001")
    assert not node.keeper.writable


def test_a_node_that_cannot_keep_its_state_is_no_part_of_a_lease(
    tmp_path: Path, clock: Clock
) -> None:
    node = Node(tmp_path / "missing" / "lease")
    assert node.keeper.info_lines(lambda: True) == {}
    assert node.until_ns == FOREVER_NS


def test_a_state_that_can_no_longer_be_written_ends_writes_until_it_can(
    tmp_path: Path, clock: Clock
) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    node = Node(folder / "lease")
    node.grant(*SENTINELS)
    me = node.node_id
    shutil.rmtree(folder)
    refusal: RespValue = node.renew("s1", epoch=2, who=me)
    assert isinstance(refusal, WireError)
    assert node.until_ns == 0
    folder.mkdir()
    for sentinel in ("s1", "s2"):
        node.renew(sentinel, node.renew(sentinel, epoch=2, who=me)[3], epoch=2, who=me)
    assert node.keeper.writable


def test_a_damaged_state_file_is_refused_with_what_to_do(tmp_path: Path, clock: Clock) -> None:
    Node(tmp_path / "lease").grant(*SENTINELS)
    with open(tmp_path / "lease", "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="Remove the file"):
        Node(tmp_path / "lease")
