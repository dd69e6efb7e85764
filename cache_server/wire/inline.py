"""Inline requests and configuration lines: words split and unquoted as redis-cli and redis.conf do.

    set key "a\\x00b\\n" 'it\\'s'        ->  [b"set", b"key", b"a\\x00b\\n", b"it's"]

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/#inline-commands.
"""

from __future__ import annotations

import re

from cache_server.errors import ProtocolError

_ESCAPES = {0x6E: 10, 0x72: 13, 0x74: 9, 0x62: 8, 0x61: 7}
_SPACE = frozenset(b" \n\r\t\v\f\0")
_HEX = re.compile(rb"\\x([0-9a-fA-F]{2})")


def split_inline(line: bytes) -> list[bytes]:
    """Splits a line into its words. Raises ProtocolError("unbalanced quotes in request")."""
    if b'"' not in line and b"'" not in line:
        return line.replace(b"\0", b" ").split()
    words: list[bytes] = []
    position = 0
    while True:
        while position < len(line) and line[position] in _SPACE:
            position += 1
        if position == len(line):
            return words
        word, position = _word(line, position)
        words.append(word)


def _word(line: bytes, position: int) -> tuple[bytes, int]:
    word = bytearray()
    while position < len(line) and line[position] not in _SPACE:
        byte = line[position]
        if byte == 0x22:
            position = _double_quoted(line, position + 1, word)
        elif byte == 0x27:
            position = _single_quoted(line, position + 1, word)
        else:
            word.append(byte)
            position += 1
    return bytes(word), position


def _closed(line: bytes, position: int) -> int:
    """A closing quote must end the word."""
    if position + 1 < len(line) and line[position + 1] not in _SPACE:
        raise ProtocolError("unbalanced quotes in request")
    return position + 1


def _double_quoted(line: bytes, position: int, word: bytearray) -> int:
    while position < len(line):
        byte = line[position]
        if byte == 0x5C and position + 1 < len(line):
            escape = _HEX.match(line, position)
            if escape:
                word.append(int(escape[1], 16))
                position += 4
            else:
                word.append(_ESCAPES.get(line[position + 1], line[position + 1]))
                position += 2
        elif byte == 0x22:
            return _closed(line, position)
        else:
            word.append(byte)
            position += 1
    raise ProtocolError("unbalanced quotes in request")


def _single_quoted(line: bytes, position: int, word: bytearray) -> int:
    while position < len(line):
        byte = line[position]
        if byte == 0x5C and line[position + 1 : position + 2] == b"'":
            word.append(0x27)
            position += 2
        elif byte == 0x27:
            return _closed(line, position)
        else:
            word.append(byte)
            position += 1
    raise ProtocolError("unbalanced quotes in request")
