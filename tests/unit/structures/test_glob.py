"""Glob patterns: Redis's answers, both ways of matching agree, and hostile patterns stay cheap."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.structures import glob

CASES = [
    (b"*", b"", True),
    (b"", b"", True),
    (b"", b"a", False),
    (b"h?llo", b"hello", True),
    (b"h?llo", b"hllo", False),
    (b"h*llo", b"heeello", True),
    (b"h[ae]llo", b"hillo", False),
    (b"h[^e]llo", b"hallo", True),
    (b"h[a-b]llo", b"hbllo", True),
    (b"h[b-a]llo", b"hbllo", True),
    (b"a\\*", b"a*", True),
    (b"a\\*", b"ab", False),
    (b"a\\", b"a\\", True),
    (b"[abc", b"c", True),
    (b"[]", b"", False),
    (b"[]x", b"x", False),
    (b"[^]", b"x", True),
    (b"[\\]]", b"]", True),
    (b"[a-]", b"-", False),
    (b"[a-]", b"_", True),
    (b"*foo*", b"a foo b", True),
    (b"a**b", b"ab", True),
    (b"*a", b"\na", True),
    (b"{x}[", b"{x}[", False),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), CASES)
def test_pattern(pattern: bytes, text: bytes, expected: bool) -> None:
    assert glob.match(pattern, text) is expected
    assert glob.walk(glob.parse(pattern), text) is expected


def test_case_is_folded_on_request_in_classes_too() -> None:
    assert glob.match(b"MAX[a-c]*", b"maxBytes", nocase=True)
    assert not glob.match(b"[^a]", b"A", nocase=True)
    assert not glob.match(b"[^A]", b"a", nocase=True)
    assert not glob.match(b"MAX", b"max")


def naive(elements: list[glob.Element], text: bytes) -> bool:
    """The definition, by recursion."""
    if not elements:
        return not text
    head, rest = elements[0], elements[1:]
    if head == -1:
        return any(naive(rest, text[start:]) for start in range(len(text) + 1))
    if not text:
        return False
    fits = head == -2 or head == text[0] or (isinstance(head, frozenset) and text[0] in head)
    return fits and naive(rest, text[1:])


@given(
    st.text("ab*?[]^-\\A", max_size=9).map(str.encode),
    st.text("abA-]", max_size=7).map(str.encode),
    st.booleans(),
)
def test_expression_and_walk_match_what_the_definition_says(
    pattern: bytes, text: bytes, nocase: bool
) -> None:
    elements = glob.parse(pattern, nocase)
    folded = text.lower() if nocase else text
    expected = naive(elements, folded)
    assert glob.walk(elements, folded) is expected
    assert glob.match(pattern, text, nocase) is expected


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_any_bytes_are_a_pattern(pattern: bytes, text: bytes) -> None:
    assert glob.match(pattern, text) is glob.walk(glob.parse(pattern), text)


def test_more_stars_than_redis_takes_match_nothing() -> None:
    assert glob.match(b"*?" * glob.STARS_MAX, b"a" * 2000)
    assert not glob.match(b"*?" * (glob.STARS_MAX + 1), b"a" * 2000)


@pytest.mark.parametrize("length", [30, 600])
def test_many_stars_take_no_exponential_time(length: int) -> None:
    pattern = b"a*" * length + b"b"
    started = time.monotonic()
    assert not glob.match(pattern, b"a" * 2000)
    assert time.monotonic() - started < 2
