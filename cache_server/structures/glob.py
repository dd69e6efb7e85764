"""Glob patterns as Redis matches them: KEYS, SCAN MATCH, PSUBSCRIBE, CONFIG GET, ACL.

    *  any bytes     ?  one byte     [ab] [a-z] [^a]  one byte of a class     \\x  x itself

Problem: the obvious matcher tries every length for every star and needs exponential time for
a*a*a*b. Idea: apart from the stars every element takes exactly one byte, so the pattern is a chain
of pieces of fixed length. Every piece but the last may settle for the first place where it fits,
and the last must fit at the end: no choice is ever taken back, and the work is at most text times
pattern. Short patterns become a regular expression whose pieces are atomic groups and say just
that; long ones, for which building an expression costs more than it brings, are walked.

Oddities kept: a class without its bracket ends with the pattern, `[]` matches nothing, `[^]` any
byte, `[z-a]` is `[a-z]`, and a lone backslash at the end stands for itself.

Source: https://redis.io/docs/latest/commands/keys/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

#: A pattern with more stars than this matches nothing, as in Redis.
STARS_MAX = 1000

#: Longer patterns are walked, not turned into an expression, in bytes.
_EXPRESSION_BYTES_MAX = 512

_STAR = -1
_ANY = -2

_ALL = frozenset(range(256))
#: No text has these once it is in lower case; an expression must not fold them back in.
_CAPITALS = frozenset(range(65, 91))

#: One element: a byte, _ANY, _STAR, or the set of bytes of a class.
Element = int | frozenset[int]


def match(pattern: bytes, text: bytes, nocase: bool = False) -> bool:
    """Whether the whole of `text` matches."""
    return bool(matcher(pattern, nocase)(text))


def matcher(pattern: bytes, nocase: bool = False) -> Callable[[bytes], object]:
    """A function of a text that returns something true when the whole text matches."""
    if len(pattern) <= _EXPRESSION_BYTES_MAX:
        return _expression(pattern, nocase)
    elements = parse(pattern, nocase)
    if elements[:-1].count(_STAR) > STARS_MAX:
        return lambda _: False
    return lambda text: walk(elements, text.lower() if nocase else text)


@lru_cache(maxsize=256)
def _expression(pattern: bytes, nocase: bool) -> Callable[[bytes], object]:
    pieces = [b""]
    for element in parse(pattern, nocase):
        if element == _STAR:
            pieces.append(b"")
        elif element == _ANY:
            pieces[-1] += b"."
        elif isinstance(element, frozenset):
            pieces[-1] += _class(element)
        else:
            pieces[-1] += re.escape(bytes((element,)))
    text = pieces[0]
    for piece in pieces[1:-1]:
        text += b"(?>.*?" + piece + b")"
    if len(pieces) > 1:
        text += b".*" + pieces[-1]
    return re.compile(text, re.DOTALL | (re.IGNORECASE if nocase else 0)).fullmatch


def _class(members: frozenset[int]) -> bytes:
    if not members:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(members)) + b"]"


def parse(pattern: bytes, nocase: bool = False) -> list[Element]:
    """The elements of a pattern, runs of stars as one; bytes in lower case if `nocase`."""
    if nocase:
        pattern = pattern.lower()
    elements: list[Element] = []
    index = 0
    while index < len(pattern):
        byte = pattern[index]
        index += 1
        if byte == 42:  # *
            if not elements or elements[-1] != _STAR:
                elements.append(_STAR)
        elif byte == 63:  # ?
            elements.append(_ANY)
        elif byte == 91:  # [
            members, index = _parse_class(pattern, index)
            elements.append(members - _CAPITALS if nocase else members)
        elif byte == 92 and index < len(pattern):  # backslash
            elements.append(pattern[index])
            index += 1
        else:
            elements.append(byte)
    return elements


def _parse_class(pattern: bytes, index: int) -> tuple[frozenset[int], int]:
    """The bytes of the class that begins after its bracket at `index`, and where it ends."""
    size = len(pattern)
    inverted = pattern[index : index + 1] == b"^"
    index += inverted
    members: set[int] = set()
    while index < size:
        byte = pattern[index]
        if byte == 92 and index + 1 < size:  # backslash
            members.add(pattern[index + 1])
            index += 2
        elif byte == 93:  # ]
            index += 1
            break
        elif index + 2 < size and pattern[index + 1] == 45:  # -
            low, high = sorted((byte, pattern[index + 2]))
            members.update(range(low, high + 1))
            index += 3
        else:
            members.add(byte)
            index += 1
    return _ALL - members if inverted else frozenset(members), index


def walk(elements: list[Element], text: bytes) -> bool:
    """Matches element by element; a mismatch moves the piece behind the last star one byte on."""
    position = at = 0
    star = -1
    star_position = 0
    size = len(text)
    while position < size:
        element: Element = elements[at] if at < len(elements) else 256
        if element == _STAR:
            star, star_position = at, position
            at += 1
        elif element == _ANY or element == text[position] or _contains(element, text[position]):
            position += 1
            at += 1
        elif star >= 0:
            star_position += 1
            position, at = star_position, star + 1
        else:
            return False
    return all(element == _STAR for element in elements[at:])


def _contains(element: Element, byte: int) -> bool:
    return isinstance(element, frozenset) and byte in element
