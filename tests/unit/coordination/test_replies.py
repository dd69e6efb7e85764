"""Replies of nodes: whole, byte by byte, hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.coordination import constants
from cache_server.coordination.replies import ReplyError, ReplyReader, encode_command
from replication.failover.events import RespValue, WireError

CASES: list[tuple[bytes, RespValue]] = [
    (b"+PONG\r\n", b"PONG"),
    (b":-42\r\n", -42),
    (b"-NOAUTH no\r\n", WireError("NOAUTH no")),
    (b"$5\r\nhe\r\no\r\n", b"he\r\no"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", ()),
    (b"*3\r\n:1\r\n*1\r\n+a\r\n$1\r\nb\r\n", (1, (b"a",), b"b")),
]


@pytest.mark.parametrize(("raw", "value"), CASES)
def test_reads_a_reply_whole_and_byte_by_byte_and_followed_by_another(
    raw: bytes, value: RespValue
) -> None:
    assert ReplyReader().feed(raw) == [value]
    reader, replies = ReplyReader(), []
    for index in range(len(raw)):
        replies += reader.feed(raw[index : index + 1])
    assert replies == [value]
    assert ReplyReader().feed(raw + b"+next\r\n") == [value, b"next"]


@pytest.mark.parametrize(
    "raw",
    [
        b"?\r\n",
        b":x\r\n",
        b":99999999999999999999999\r\n",
        b"$-2\r\n",
        b"$3\r\nabcd\r\n",
        b"*%d\r\n" % (constants.REPLY_ELEMENTS_MAX + 1),
        b"$%d\r\n" % (constants.REPLY_BYTES_MAX + 1),
        b"*1\r\n" * (constants.REPLY_DEPTH_MAX + 1),
        b"+" + b"x" * (constants.REPLY_BYTES_MAX + 1),
    ],
)
def test_refuses_what_is_no_reply_or_beyond_the_limits(raw: bytes) -> None:
    with pytest.raises(ReplyError):
        ReplyReader().feed(raw)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_give_values_or_the_typed_error(chunks: list[bytes]) -> None:
    reader = ReplyReader()
    try:
        for chunk in chunks:
            reader.feed(chunk)
    except ReplyError:
        pass


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_a_command_is_an_array_of_bulk_strings(args: list[bytes]) -> None:
    assert ReplyReader().feed(encode_command(tuple(args))) == [tuple(args)]
