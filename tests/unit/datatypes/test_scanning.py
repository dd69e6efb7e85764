"""The options of the scanning commands."""

from __future__ import annotations

import pytest

from cache_server.datatypes import scanning
from cache_server.errors import CommandError


@pytest.mark.parametrize(
    ("word", "cursor"), [(b"0", 0), (b"", 0), (b"+7", 7), (b"-1", 2**64 - 1), (b"007", 7)]
)
def test_cursor(word: bytes, cursor: int) -> None:
    assert scanning.parse_cursor(word) == cursor


@pytest.mark.parametrize("word", [b"x", b" 1", b"1 ", b"-", b"18446744073709551616", b"1.0"])
def test_invalid_cursor(word: bytes) -> None:
    with pytest.raises(CommandError, match="invalid cursor"):
        scanning.parse_cursor(word)


def test_options() -> None:
    options = scanning.parse_options(
        [b"scan", b"0", b"MATCH", b"a*", b"count", b"7", b"TYPE", b"Hash"], 2, with_type=True
    )
    assert options.count == 7
    assert options.type_name == b"hash"
    assert options.match is not None
    assert options.match(b"abc")
    assert not options.match(b"b")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([b"count"], "syntax error"),
        ([b"count", b"0"], "syntax error"),
        ([b"count", b"x"], "not an integer"),
        ([b"type", b"set"], "syntax error"),
        ([b"bogus", b"1"], "syntax error"),
        ([b"count", b"x", b"match"], "not an integer"),
    ],
)
def test_refused_options(words: list[bytes], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        scanning.parse_options([b"sscan", b"k", b"0", *words], 3)
