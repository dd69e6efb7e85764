"""RESP, read and written: every case on the compiled core and on its pure twin.

A request case is (bytes, requests, error); each is read whole, byte by byte, and with a further
request behind it. A reply case is (value, RESP2, RESP3).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cache_server import wire
from cache_server.errors import CommandError, ProtocolError
from cache_server.wire import pure
from cache_server.wire.replies import (
    NO_REPLY,
    NULL_ARRAY,
    OK,
    Map,
    Push,
    Raw,
    SetReply,
    Status,
    Verbatim,
)

READERS = [pure.RequestReader] + ([wire.RequestReader] if wire.COMPILED else [])
WRITERS = [pure.ReplyWriter] + ([wire.ReplyWriter] if wire.COMPILED else [])

REQUESTS: list[tuple[bytes, list[list[bytes]]]] = [
    (b"*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", [[b"GET", b""]]),
    (b"*2\r\n$3\r\nGET\r\n$4\r\n\r\n\0\n\r\n", [[b"GET", b"\r\n\0\n"]]),
    (b"PING\r\n", [[b"PING"]]),
    (b"PING\n", [[b"PING"]]),
    (b"  set  k 'a b' \"\\x41\\n\"\r\n", [[b"set", b"k", b"a b", b"A\n"]]),
    (b"\r\n\r\nPING\r\n", [[b"PING"]]),
    (b"*0\r\n*-1\r\n*1\r\n$1\r\na\r\n", [[b"a"]]),
    (b"*-9223372036854775808\r\n*1\r\n$1\r\na\r\n", [[b"a"]]),
    (b"*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n", [[b"a"], [b"b"]]),
]

BAD_REQUESTS: list[tuple[bytes, str]] = [
    (b"*a\r\n", "invalid multibulk length"),
    (b"*-9223372036854775809\r\n", "invalid multibulk length"),
    (b"*9999999999999999999\r\n", "invalid multibulk length"),
    (b"*\r\n", "invalid multibulk length"),
    (b"*01\r\n", "invalid multibulk length"),
    (b"*1 \r\n", "invalid multibulk length"),
    (b"*3000000000\r\n", "invalid multibulk length"),
    (b"*99999999999999999999999\r\n", "invalid multibulk length"),
    (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$x\r\n", "invalid bulk length"),
    (b"*1\r\n$2000000000\r\n", "invalid bulk length"),
    (b'set k "open\r\n', "unbalanced quotes in request"),
    (b"set k 'a'b\r\n", "unbalanced quotes in request"),
    (b"x" * 70000, "too big inline request"),
    (b"*" + b"1" * 70000, "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 70000, "too big bulk count string"),
]


def read_all(reader: Any, pieces: list[bytes]) -> list[list[bytes]]:
    requests = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next_request()) is not None:
            requests.append(request)
    return requests


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("data", "requests"), REQUESTS)
def test_reads_requests_however_they_are_cut(
    reader: Any, data: bytes, requests: list[list[bytes]]
) -> None:
    tail = b"*1\r\n$4\r\nECHO\r\n"
    assert read_all(reader(), [data]) == requests
    assert read_all(reader(), one_by_one(data)) == requests
    assert read_all(reader(), [data + tail]) == [*requests, [b"ECHO"]]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("data", "reason"), BAD_REQUESTS)
def test_refuses_what_is_no_request_in_redis_words(reader: Any, data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason.replace("$", r"\$")):
        read_all(reader(), [data])
    with pytest.raises(ProtocolError, match=reason.replace("$", r"\$")):
        read_all(reader(), [data[i : i + 4096] for i in range(0, len(data), 4096)])


@pytest.mark.parametrize("reader", READERS)
def test_a_peer_that_did_not_authenticate_may_announce_little(reader: Any) -> None:
    for data, reason in (
        (b"*11\r\n", "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
    ):
        strict = reader()
        strict.authenticated = False
        with pytest.raises(ProtocolError, match=reason):
            read_all(strict, [data])


@pytest.mark.parametrize("reader", READERS)
def test_an_announcement_alone_costs_no_memory(reader: Any) -> None:
    announced = reader()
    assert read_all(announced, [b"*2000000000\r\n$500000000\r\nab"]) == []
    assert announced.buffered_bytes < 100
    assert announced.capacity_bytes < 2 << 20


@pytest.mark.parametrize("reader", READERS)
def test_arguments_that_somebody_holds_stay_as_they_are(reader: Any) -> None:
    read = reader()
    for key in (b"a", b"b", b"c", b"d"):
        read.feed(b"*2\r\n$3\r\nGET\r\n$1\r\n%b\r\n" % key)
    first = read.next_request()
    assert read.next_request() == [b"GET", b"b"]
    third = read.next_request()
    assert read.next_request() == [b"GET", b"d"]
    assert (first, third) == ([b"GET", b"a"], [b"GET", b"c"])


@pytest.mark.parametrize("reader", READERS)
def test_a_large_argument_may_come_in_many_pieces(reader: Any) -> None:
    data = b"*2\r\n$3\r\nSET\r\n$300000\r\n" + b"v" * 300000 + b"\r\n"
    pieces = [data[i : i + 1000] for i in range(0, len(data), 1000)]
    assert read_all(reader(), pieces) == [[b"SET", b"v" * 300000]]


@pytest.mark.skipif(not wire.COMPILED, reason="the core is not compiled")
@example([b"*"], [b"\x00\r"])
@given(
    st.lists(
        st.sampled_from(
            [
                b"*1\r\n",
                b"*2\r\n",
                b"$1\r\n",
                b"$",
                b"\r\n",
                b"a",
                b"*",
                b"-1",
                b"PING",
                b"'",
                b"\n",
                b"0",
            ]
        ),
        max_size=12,
    ),
    st.lists(st.binary(max_size=8), max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_both_readers_agree_on_any_bytes(words: list[bytes], noise: list[bytes]) -> None:
    data = b"".join(words) + b"".join(noise)
    outcomes = []
    for reader in READERS:
        for pieces in ([data], one_by_one(data)):
            made, error = reader(), None
            requests: list[list[bytes]] = []
            try:
                for piece in pieces:
                    made.feed(piece)
                    while (request := made.next_request()) is not None:
                        requests.append(request)
            except ProtocolError as refused:
                error = str(refused)
            outcomes.append((requests, error))
    assert all(outcome == outcomes[0] for outcome in outcomes), outcomes


REPLIES: list[tuple[Any, bytes, bytes]] = [
    (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
    (bytearray(b"x"), b"$1\r\nx\r\n", b"$1\r\nx\r\n"),
    (0, b":0\r\n", b":0\r\n"),
    (-(2**63), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
    (2**63 - 1, b":9223372036854775807\r\n", b":9223372036854775807\r\n"),
    (None, b"$-1\r\n", b"_\r\n"),
    (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
    (True, b":1\r\n", b"#t\r\n"),
    (False, b":0\r\n", b"#f\r\n"),
    (0.3, b"$19\r\n0.29999999999999999\r\n", b",0.29999999999999999\r\n"),
    (float("-inf"), b"$4\r\n-inf\r\n", b",-inf\r\n"),
    (OK, b"+OK\r\n", b"+OK\r\n"),
    (Status(b"QUEUED"), b"+QUEUED\r\n", b"+QUEUED\r\n"),
    (CommandError("ERR a\r\nb"), b"-ERR a  b\r\n", b"-ERR a  b\r\n"),
    (
        [1, [b"x"], None],
        b"*3\r\n:1\r\n*1\r\n$1\r\nx\r\n$-1\r\n",
        b"*3\r\n:1\r\n*1\r\n$1\r\nx\r\n_\r\n",
    ),
    ((1,), b"*1\r\n:1\r\n", b"*1\r\n:1\r\n"),
    (Map([b"k", 1]), b"*2\r\n$1\r\nk\r\n:1\r\n", b"%1\r\n$1\r\nk\r\n:1\r\n"),
    (SetReply([b"k"]), b"*1\r\n$1\r\nk\r\n", b"~1\r\n$1\r\nk\r\n"),
    (Push([b"k"]), b"*1\r\n$1\r\nk\r\n", b">1\r\n$1\r\nk\r\n"),
    (Verbatim(b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
    (Raw(b"+x\r\n"), b"+x\r\n", b"+x\r\n"),
    (NO_REPLY, b"", b""),
]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("value", "resp2", "resp3"), REPLIES)
def test_says_every_value_in_both_protocols(
    writer: Any, value: Any, resp2: bytes, resp3: bytes
) -> None:
    for protocol, expected in ((2, resp2), (3, resp3)):
        made = writer()
        made.protocol = protocol
        made.write(value)
        assert made.take() == expected
        assert len(made) == 0


@pytest.mark.parametrize("writer", WRITERS)
def test_refuses_a_value_that_is_no_reply(writer: Any) -> None:
    with pytest.raises(TypeError):
        writer().write(object())


@pytest.mark.parametrize("writer", WRITERS)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_a_written_command_is_read_back(writer: Any, args: list[bytes]) -> None:
    made = writer()
    made.write_command(args)
    encoded = made.take()
    for reader in READERS:
        assert read_all(reader(), [encoded]) == [args]
