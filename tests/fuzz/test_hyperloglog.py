"""HyperLogLog payloads from anywhere: an answer or a refusal, and never a value that is neither."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from cache_server.datatypes import hyperloglog as commands
from cache_server.datatypes import strings
from cache_server.errors import CommandError
from cache_server.structures import hyperloglog
from tests.unit.datatypes.calling import Caller

BODIES = st.one_of(
    st.binary(max_size=60),
    st.binary(min_size=1, max_size=20).map(lambda part: (part * 12288)[:12288]),
    st.lists(st.sampled_from([b"\x7f\xff", b"\x5f\xff", b"\x80", b"\x3f", b"\xff"])).map(b"".join),
)
PAYLOADS = st.builds(
    lambda encoding, cache, body: b"HYLL" + bytes([encoding]) + bytes(3) + cache + body,
    st.sampled_from([0, 1, 1, 1, 2]),
    st.binary(min_size=8, max_size=8),
    BODIES,
)
ELEMENTS = st.lists(st.binary(max_size=20), max_size=20)


@given(payload=st.one_of(PAYLOADS, st.binary(max_size=40)), elements=ELEMENTS)
def test_every_command_answers_or_refuses(payload: bytes, elements: list[bytes]) -> None:
    call = Caller(commands, strings)
    for words in (
        ["PFADD", "k", *elements], ["PFCOUNT", "k"], ["PFCOUNT", "k", "k"], ["PFMERGE", "d", "k"],
        ["PFDEBUG", "DECODE", "k"], ["PFDEBUG", "GETREG", "k"],
    ):  # fmt: skip
        call("SET", "k", payload)
        with suppress(CommandError):
            call(*words)


@given(elements=ELEMENTS, bytes_max=st.integers(0, 60))
def test_what_was_made_here_is_never_refused(elements: list[bytes], bytes_max: int) -> None:
    data = hyperloglog.new()
    for element in elements:
        hyperloglog.add(data, element, bytes_max)
        assert hyperloglog.add(data, element, bytes_max) == 0
    assert hyperloglog.has_header(data)
    assert abs(hyperloglog.count(data) - len(set(elements))) <= 1
