"""The talk of MIGRATE with another server: what is sent, and what comes of each kind of answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from cache_server.links.migration import Link, Outcome, Shipment, deliver


class Peer:
    """A server that answers each connection with the next of `answers`, then closes it."""

    def __init__(self, answers: list[bytes]) -> None:
        self.received: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(5)
        self.port = b"%d" % self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, args=(answers,), daemon=True)
        self._thread.start()

    def _serve(self, answers: list[bytes]) -> None:
        for answer in answers:
            connection, _ = self._listener.accept()
            with connection:
                self.received.append(connection.recv(65536))
                connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(5)
        self._listener.close()


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    made: list[Peer] = []
    yield made
    for peer in made:
        peer.close()


def shipped(
    peers: list[Peer], answers: list[bytes], link: Link | None = None
) -> tuple[Outcome, Link | None, Peer]:
    peer = Peer(answers)
    peers.append(peer)
    shipment = Shipment(b"127.0.0.1", peer.port, 2, 2000)
    shipment.auth = [b"user", b"secret"]
    shipment.restores = [[b"RESTORE", b"a", b"0", b"x"], [b"RESTORE", b"b", b"0", b"y"]]
    outcome, kept = deliver(shipment, link)
    return outcome, kept, peer


def test_all_is_sent_at_once_and_the_link_remembers_its_database(peers: list[Peer]) -> None:
    outcome, link, peer = shipped(peers, [b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n"])
    assert (outcome.fault, outcome.refusal, outcome.lines) == ("", b"", [b"+OK", b"+OK"])
    assert peer.received[0].startswith(
        b"*3\r\n$4\r\nAUTH\r\n$4\r\nuser\r\n$6\r\nsecret\r\n*2\r\n$6"
    )
    assert link is not None
    assert link.db_index == 2
    link.close()


def test_a_refusal_is_kept_with_each_answer(peers: list[Peer]) -> None:
    outcome, link, _ = shipped(peers, [b"+OK\r\n+OK\r\n-BUSYKEY there\r\n+OK\r\n"])
    assert outcome.refusal == b"BUSYKEY there"
    assert outcome.lines == [b"-BUSYKEY there", b"+OK"]
    assert not outcome.refused_before
    assert link is not None
    assert link.db_index == -1
    link.close()
    outcome, link, _ = shipped(peers, [b"-WRONGPASS\r\n+OK\r\n+OK\r\n+OK\r\n"])
    assert outcome.refused_before
    assert link is not None
    link.close()


def test_a_talk_is_tried_again_only_before_anything_was_answered(peers: list[Peer]) -> None:
    outcome, link, peer = shipped(peers, [b"", b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n"])
    assert outcome.fault == ""
    assert len(peer.received) == 2
    assert link is not None
    link.close()
    outcome, link, peer = shipped(peers, [b"+OK\r\n+OK\r\n+OK\r\n"])
    assert (outcome.fault, outcome.lines, link) == ("reading", [b"+OK"], None)


@pytest.mark.parametrize(("host", "port"), [(b"\xff", b"1"), (b"127.0.0.1", b"x"), (b"", b"-1")])
def test_an_address_that_cannot_be_is_a_fault_of_connecting(host: bytes, port: bytes) -> None:
    outcome, link = deliver(Shipment(host, port, 0, 100), None)
    assert (outcome.fault, link) == ("connecting", None)


def test_a_line_without_end_is_a_fault(peers: list[Peer]) -> None:
    outcome, link, _ = shipped(peers, [b"+" * 100_000, b"+" * 100_000])
    assert (outcome.fault, link) == ("reading", None)
