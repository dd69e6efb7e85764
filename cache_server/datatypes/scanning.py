"""What SCAN, SSCAN, HSCAN and ZSCAN share: the cursor, the options, the reply.

Source: https://redis.io/docs/latest/commands/scan/.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cache_server.datatypes.arguments import parse_integer
from cache_server.errors import CommandError, syntax_error
from cache_server.structures import glob

_CURSOR = re.compile(rb"([+-]?)([0-9]{1,20})")
_CURSOR_END = 1 << 64


class ScanOptions:
    """`count` elements are asked for; `match` is None for all names; `type_name` in lower case."""

    def __init__(self) -> None:
        self.count = 10
        self.match: Callable[[bytes], object] | None = None
        self.type_name: bytes | None = None


def parse_cursor(word: bytes) -> int:
    """An unsigned 64-bit cursor as C's strtoul reads it. Raises CommandError."""
    if not word:
        return 0
    matched = _CURSOR.fullmatch(word)
    if matched is None or int(matched[2]) >= _CURSOR_END:
        raise CommandError(b"ERR invalid cursor")
    value = int(matched[2])
    return (_CURSOR_END - value) % _CURSOR_END if matched[1] == b"-" else value


def parse_options(args: list[bytes], first: int, with_type: bool = False) -> ScanOptions:
    """MATCH, COUNT and (for SCAN) TYPE from `args[first]` on. Raises CommandError."""
    options = ScanOptions()
    if (len(args) - first) % 2:
        # Faults are reported in the order of the words, a missing value last.
        parse_options(args[:-1], first, with_type)
        raise syntax_error()
    for index in range(first, len(args), 2):
        word = args[index].lower()
        value = args[index + 1]
        if word == b"count":
            options.count = parse_integer(value)
            if options.count < 1:
                raise syntax_error()
        elif word == b"match":
            options.match = None if value == b"*" else glob.matcher(value)
        elif word == b"type" and with_type:
            options.type_name = value.lower()
        else:
            raise syntax_error()
    return options


def scan_reply(cursor: int, elements: list[bytes]) -> list[object]:
    """The reply of every scanning command."""
    return [b"%d" % cursor, elements]
