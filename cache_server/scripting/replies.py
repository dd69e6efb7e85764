"""What a command returned, as the Lua side of the bridge takes it.

A plain value crosses as it is: bytes, a number, False for a null (None, Lua's nil, under RESP3).
Anything else is a tuple; Lua gets its items as separate values, the second says what they are:

    (text, STATUS)          {ok = text}
    (text, ERROR)           an error of a command: raised, or {err = text} from pcall
    (text, MISUSE)          the same, of the call itself
    (None, LIST, ...)       a table of plain values
    (None, STREAM)          tokens follow, fetched in portions of PORTION

In the stream plain values stand for themselves and True announces the rest: a count and so many
values for a list; `map`, `set` and a count; a name and its value for {name = value}.
"""

from __future__ import annotations

from typing import Any

from cache_server.errors import CommandError
from cache_server.wire.replies import (
    NULL_ARRAY,
    OK,
    Map,
    Raw,
    SetReply,
    Status,
    Verbatim,
    format_double,
)

ERROR = 0
STATUS = 1
LIST = 2
STREAM = 3
MISUSE = 4

PORTION = 200
_PLAIN = frozenset([bytes, int])
_OK = (OK.text, STATUS)


def to_lua(value: Any, protocol: int, stream: list[Any]) -> Any:
    """The value for Lua; the tokens of a long or nested one are left in `stream`."""
    if value is OK:
        return _OK
    kind = type(value)
    if kind is bytes or kind is int:
        return value
    if value is None or value is NULL_ARRAY:
        return None if protocol == 3 else False
    if kind is Status:
        return (value.text, STATUS)
    if isinstance(value, CommandError):
        return (value.text, ERROR)
    if kind is list and len(value) <= PORTION:
        nulls = False
        for item in value:
            if item is None:
                nulls = True
            elif type(item) not in _PLAIN:
                break
        else:
            if nulls and protocol == 2:
                value = [False if item is None else item for item in value]
            return (None, LIST, *value)
    stream.clear()
    _append(value, protocol, stream)
    if len(stream) == 1:
        return stream.pop()
    stream.reverse()
    return (None, STREAM)


def next_portion(stream: list[Any]) -> tuple[Any, ...]:
    """The next tokens."""
    taken = stream[-PORTION:]
    del stream[-PORTION:]
    taken.reverse()
    return tuple(taken)


def _append(value: Any, protocol: int, stream: list[Any]) -> None:
    kind = type(value)
    if kind is bytes or kind is int:
        stream.append(value)
    elif value is None or value is NULL_ARRAY:
        stream.append(None if protocol == 3 else False)
    elif kind is bool:
        if protocol == 3 and value:
            stream += (True, b"true")
        else:
            stream.append(False if protocol == 3 else int(value))
    elif isinstance(value, float):
        stream += (True, b"double", value) if protocol == 3 else (format_double(value),)
    elif kind is Status:
        stream += (True, b"ok", value.text)
    elif isinstance(value, CommandError):
        stream += (True, b"err", value.text)
    elif kind is Verbatim:
        if protocol == 3:
            stream += (True, b"verbatim", value.form, value.text)
        else:
            stream.append(value.text)
    elif kind is Raw:
        _append_encoded(value.encoded, stream)
    elif isinstance(value, list | tuple):
        _append_list(value, protocol, stream)
    else:
        stream.append(bytes(value))


def _append_list(value: Any, protocol: int, stream: list[Any]) -> None:
    if protocol == 3 and type(value) is Map:
        stream += (True, b"map", len(value) // 2)
    elif protocol == 3 and type(value) is SetReply:
        stream += (True, b"set", len(value))
    else:
        stream += (True, len(value))
    for item in value:
        _append(item, protocol, stream)


def _append_encoded(data: bytes, stream: list[Any]) -> None:
    """RESP that a command wrote itself (a big number, a reply with attributes, a push)."""
    _append_element(data, 0, stream)


def _append_element(data: bytes, at: int, stream: list[Any]) -> int:
    end = data.index(b"\r\n", at)
    mark, line = data[at : at + 1], data[at + 1 : end]
    at = end + 2
    if mark in b"$=":
        size = int(line)
        if size < 0:
            stream.append(False)
            return at
        text = data[at : at + size]
        stream += (True, b"verbatim", text[:3], text[4:]) if mark == b"=" else (text,)
        return at + size + 2
    if mark == b"|":
        ignored: list[Any] = []
        for _ in range(2 * int(line)):
            at = _append_element(data, at, ignored)
        return _append_element(data, at, stream)
    if mark in b"*~>%":
        return _append_aggregate(data, at, mark, int(line), stream)
    if mark == b":":
        stream.append(int(line))
    elif mark == b"(":
        stream += (True, b"big_number", line)
    elif mark == b"_":
        stream.append(None)
    elif mark == b",":
        stream += (True, b"double", float(line))
    else:
        stream += (True, b"err" if mark == b"-" else b"ok", line)
    return at


def _append_aggregate(data: bytes, at: int, mark: bytes, count: int, stream: list[Any]) -> int:
    if mark == b"%":
        stream += (True, b"map", count)
        count *= 2
    elif mark == b"~":
        stream += (True, b"set", count)
    else:
        stream += (True, count)
    for _ in range(count):
        at = _append_element(data, at, stream)
    return at


__all__ = ["ERROR", "LIST", "MISUSE", "STATUS", "STREAM", "next_portion", "to_lua"]
