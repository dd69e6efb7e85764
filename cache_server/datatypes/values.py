"""What holds for a value of any type: its name, its encoding, a copy, its size.

A string is `bytes`, `int` or `bytearray`; every other type is a class that answers for itself
(`type_name`, `encoding`, `copy`, `memory_bytes`).
"""

from __future__ import annotations

from typing import Any

from cache_server.datatypes.arguments import integer_or_none

#: Longest string that Redis keeps in one block with its header ("embstr"), in bytes.
EMBEDDED_BYTES_MAX = 44

#: What a small block costs beyond its content: CPython's header of a bytes object, rounded up.
_BYTES_HEADER = 33
_INT_BYTES = 32
_BYTEARRAY_HEADER = 57
#: An entry's fields, which its key follows, and its slot in the table's bucket.
_ENTRY_BYTES = 48
_SLOT_BYTES = 16


def is_string(value: Any) -> bool:
    kind = type(value)
    return kind is bytes or kind is int or kind is bytearray


def type_name(value: Any) -> bytes:
    """As TYPE says it; "none" for None."""
    if value is None:
        return b"none"
    name: bytes = b"string" if is_string(value) else value.type_name
    return name


def encoding(value: Any) -> bytes:
    """As OBJECT ENCODING says it."""
    kind = type(value)
    if kind is int:
        return b"int"
    if kind is bytes:
        if len(value) <= 20 and integer_or_none(value) is not None:
            return b"int"
        return b"embstr" if len(value) <= EMBEDDED_BYTES_MAX else b"raw"
    if kind is bytearray:
        return b"raw"
    name: bytes = value.encoding
    return name


def copy_value(value: Any) -> Any:
    """A value that shares nothing changeable with the original."""
    kind = type(value)
    if kind is bytes or kind is int:
        return value
    return bytearray(value) if kind is bytearray else value.copy()


def memory_bytes(value: Any, samples: int) -> int:
    """Bytes that the value takes, estimated from `samples` of its elements (0: from all)."""
    kind = type(value)
    if kind is bytes:
        return _rounded(_BYTES_HEADER + len(value))
    if kind is int:
        return _INT_BYTES
    if kind is bytearray:
        return _rounded(_BYTEARRAY_HEADER) + _rounded(len(value) + 1)
    return int(value.memory_bytes(samples))


def key_bytes(key: bytes, value: Any, samples: int) -> int:
    """Bytes that a key with its value takes (MEMORY USAGE)."""
    return _SLOT_BYTES + _rounded(_ENTRY_BYTES + len(key)) + memory_bytes(value, samples)


def _rounded(count: int) -> int:
    return (count + 15) & ~15
