"""What a command may return, and how each value is said in RESP2 and RESP3.

A command never writes to a socket: it returns a plain Python value and the encoder knows both
protocols. The whole list:

    value                     RESP2                 RESP3
    bytes, bytearray          bulk string           bulk string
    int                       integer               integer
    None                      null bulk  $-1        null  _
    NULL_ARRAY                null array *-1        null  _
    bool                      integer 1 or 0        boolean #t or #f
    float                     bulk, %.17g           double ,
    Status(b"OK")             +OK                   +OK
    CommandError (an element) -text                 -text
    list, tuple               array                 array
    Map (flat list k, v, ..)  array                 map %
    SetReply                  array                 set ~
    Push                      array                 push >
    Verbatim(text)            bulk string           verbatim string =
    Raw(encoded bytes)        as they are           as they are
    NO_REPLY                  nothing               nothing

Source: the RESP specification, https://redis.io/docs/latest/develop/reference/protocol-spec/.
"""

from __future__ import annotations

import math


class Status:
    """A simple string reply; `encoded` is made once."""

    __slots__ = ("encoded", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.encoded = b"+" + text + b"\r\n"

    def __repr__(self) -> str:
        return f"Status({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Status) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Raw:
    """Bytes that are already a reply in the client's protocol version."""

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded


class Verbatim:
    """Text for people: a bulk in RESP2, `=len:fmt:text` in RESP3. `form` is three letters."""

    __slots__ = ("form", "text")

    def __init__(self, text: bytes, form: bytes = b"txt") -> None:
        self.text = text
        self.form = form


class Map(list):  # type: ignore[type-arg]
    """A flat list key, value, key, value, ...: a map in RESP3, the same flat array in RESP2."""

    __slots__ = ()


class SetReply(list):  # type: ignore[type-arg]
    """Distinct elements: a set in RESP3, an array in RESP2."""

    __slots__ = ()


class Push(list):  # type: ignore[type-arg]
    """Out-of-band data: a push in RESP3, an array in RESP2."""

    __slots__ = ()


class _Marker:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


NULL_ARRAY = _Marker("NULL_ARRAY")
#: The command answers nothing now: it is blocked, wrote its replies itself, or replies are off.
NO_REPLY = _Marker("NO_REPLY")

OK = Status(b"OK")
QUEUED = Status(b"QUEUED")
PONG = Status(b"PONG")


def format_double(value: float) -> bytes:
    """A score or a double as Redis 7.0 prints it: 17 significant digits, inf, -inf, nan."""
    if math.isinf(value):
        return b"inf" if value > 0 else b"-inf"
    return b"%.17g" % value
