"""The debugger's commands as they come over the wire: whole, in pieces, or none at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.scripting.debugger import Debugger, RefusedError, parse_command

words_lists = st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=5)


def encoded(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


class Pieces:
    """A wire on which these pieces come, and then nobody is there any more."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@given(words_lists, st.data())
def test_a_command_is_read_when_it_is_whole(words: list[bytes], data: st.DataObject) -> None:
    request = encoded(words)
    assert parse_command(request) == words
    assert parse_command(request[: data.draw(st.integers(1, len(request) - 1))]) is None


@given(st.binary(max_size=60) | st.text(alphabet="*$\r\n0123456789ab-", max_size=40))
def test_what_is_no_command_is_refused_or_waited_for(junk: bytes | str) -> None:
    data = junk.encode() if isinstance(junk, str) else junk
    try:
        words = parse_command(data)
    except RefusedError:
        return
    assert words is None or all(words)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_end_in_an_action_for_lua(pieces: list[bytes]) -> None:
    wire = Pieces(*pieces)
    debugger = Debugger(wire, b"return 1\nreturn 2", 0)
    assert debugger.stops(1, counted=False)
    action = debugger.next()
    assert action in (b"run", b"print", b"trace") or action[0] in (
        b"raise",
        b"print",
        b"eval",
        b"redis",
    )
    assert wire.sent.startswith(
        b"*2\r\n+* Stopped at 1, stop reason = step over\r\n+-> 1   return 1"
    )


def test_a_client_that_is_gone_lets_the_script_run() -> None:
    debugger = Debugger(Pieces(encoded([b"b", b"2"])), b"a\nb", 0)
    assert debugger.stops(1, counted=False)
    assert debugger.next() == b"run"
    assert not debugger.stops(2, counted=False)


def test_too_much_that_is_no_command_ends_the_script() -> None:
    debugger = Debugger(Pieces(b"*", *[b"1" * 100_000] * 11), b"a", 0)
    assert debugger.stops(1, counted=False)
    assert debugger.next() == (b"raise", b"max client buffer reached")


@pytest.mark.parametrize("number", [b"0", b"-1", b"1025", b"x", b"99999999999999999999", b"+1"])
def test_counts_out_of_range_are_refused(number: bytes) -> None:
    with pytest.raises(RefusedError):
        parse_command(b"*%b\r\n$1\r\na\r\n" % number)
    with pytest.raises(RefusedError):
        parse_command(b"*1\r\n$%b\r\na\r\n" % number)
