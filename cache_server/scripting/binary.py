"""The bits and bytes that Lua's `struct`, `bit` and `cmsgpack` leave to the host.

Arguments come as Lua has them: bytes for strings, int or float for numbers. `pack`, `unpack` and
`size` raise `RefusedError` with the library's text; their memory is bounded by PACKED_BYTES_MAX and
VALUES_MAX, and the bytes of the input.

Source: http://www.inf.puc-rio.br/~roberto/struct/, http://bitop.luajit.org/semantics.html.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, TypeGuard

INTEGER_BYTES_MAX = 32
ALIGN_MAX = 8
PACKED_BYTES_MAX = 512 * 1024 * 1024
VALUES_MAX = 7000
_INT_MAX = 2**31 - 1
_SIZES = {
    "B": 1, "b": 1, "H": 2, "h": 2, "L": 8, "l": 8, "T": 8, "f": 4, "d": 8, "x": 1,
}  # fmt: skip
_NO_INTEGER = 1 << 63  # what a double that fits no 64-bit integer becomes on x86


class RefusedError(Exception):
    """An error for the script; the text is Lua's."""


def is_number(value: Any) -> TypeGuard[int | float]:
    return type(value) is int or type(value) is float


def number_of(value: Any) -> float | int | None:
    """A number, or a string that is one to Lua."""
    if is_number(value):
        return value
    if type(value) is not bytes:
        return None
    text = value.strip(b" \t\n\r\f\v")
    try:
        if text[:2].lower() == b"0x":
            return int(text, 16)
        if b"_" in text or text.lower().lstrip(b"+-") in (b"inf", b"infinity", b"nan"):
            return None
        return float(text)
    except ValueError:
        return None


def type_name(value: Any) -> str:
    """Lua's word for the type of an argument."""
    if value is None:
        return "nil"
    if type(value) is bool:
        return "boolean"
    if is_number(value):
        return "number"
    return "string" if type(value) is bytes else "table"


def integer_of(number: float | int) -> int:
    """A C cast to a 64-bit integer: towards zero."""
    if type(number) is float and not math.isfinite(number):
        return -_NO_INTEGER
    whole = int(number)
    return whole if -_NO_INTEGER <= whole < 2 * _NO_INTEGER else -_NO_INTEGER


class _Format:
    """The items of a format string, with the byte order and the alignment in force."""

    def __init__(self, text: bytes, *, lenient: bool = False) -> None:
        self.lenient = lenient
        self.text = text.split(b"\0", 1)[0].decode("latin-1")
        self.at = 0
        self.big = False
        self.align = 1

    def items(self) -> Iterator[tuple[str, int]]:
        """(option, size in bytes); options that only set something are not shown."""
        while self.at < len(self.text):
            option = self.text[self.at]
            self.at += 1
            if option in "iI":
                size = self._number(4)
                if size > INTEGER_BYTES_MAX:
                    raise RefusedError(
                        f"integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"
                    )
                yield option, size
            elif option == "c":
                yield option, self._number(1)
            elif option == "s":
                yield option, 0
            elif option in _SIZES:
                yield option, _SIZES[option]
            else:
                self._set(option)

    def padding(self, position: int, option: str, size: int) -> int:
        """Bytes to skip before an item."""
        if size == 0 or option == "c":
            return 0
        size = min(size, self.align)
        return (size - (position & (size - 1))) & (size - 1)

    def _number(self, default: int) -> int:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in "0123456789":
            self.at += 1
        if start == self.at:
            return default
        if self.at - start > 10 or int(self.text[start : self.at]) > _INT_MAX:
            raise RefusedError("integral size overflow")
        return int(self.text[start : self.at])

    def _set(self, option: str) -> None:
        if option in "<>":
            self.big = option == ">"
        elif option == "!":
            align = self._number(ALIGN_MAX)
            if align <= 0 or align & (align - 1):
                raise RefusedError(f"alignment {align} is not a power of 2")
            self.align = align
        elif option != " " and not (self.lenient and option.isalnum()):
            raise RefusedError(f"bad argument #1 to 'pack' (invalid format option '{option}')")


def _format(args: tuple[Any, ...], name: str) -> _Format:
    return _Format(_string(args, 0, name), lenient=name == "size")


def _string(args: tuple[Any, ...], index: int, name: str) -> bytes:
    value = args[index] if index < len(args) else None
    if type(value) is bytes:
        return value
    if is_number(value):
        return b"%.14g" % float(value)
    got = type_name(value) if index < len(args) else "no value"
    raise RefusedError(f"bad argument #{index + 1} to '{name}' (string expected, got {got})")


def _number(args: tuple[Any, ...], index: int, name: str) -> float | int:
    value = number_of(args[index]) if index < len(args) else None
    if value is not None:
        return value
    # Behind its arguments `pack` keeps a nil.
    got = type_name(args[index]) if index < len(args) else "nil"
    raise RefusedError(f"bad argument #{index + 1} to '{name}' (number expected, got {got})")


def pack(*args: Any) -> bytes:
    """struct.pack(format, values ...)"""
    form = _format(args, "pack")
    out = bytearray()
    index = 1
    for option, size in form.items():
        out += bytes(form.padding(len(out), option, size))
        if len(out) + size > PACKED_BYTES_MAX:
            raise RefusedError("not enough memory")
        if option == "x":
            out.append(0)
            continue
        if option in "cs":
            value = _string(args, index, "pack")
            index += 1
            size = size or len(value)
            if len(value) < size:
                raise RefusedError(f"bad argument #{index + 1} to 'pack' (string too short)")
            out += value[:size]
            if option == "s":
                out.append(0)
            continue
        out += _packed(option, size, _number(args, index, "pack"), form.big)
        index += 1
    return bytes(out)


def _packed(option: str, size: int, number: float | int, big: bool) -> bytes:
    if option in "fd":
        try:
            return struct.pack((">" if big else "<") + option, number)
        except OverflowError:
            return struct.pack((">" if big else "<") + option, math.copysign(math.inf, number))
    # Beyond its eight bytes a number is zeros, even a negative one.
    data = (integer_of(number) & (2**64 - 1)).to_bytes(max(size, 8), "little")[:size]
    return data[::-1] if big else data


def unpack(*args: Any) -> list[Any]:
    """struct.unpack(format, data [, position]): the values, and the position after them."""
    form = _format(args, "unpack")
    data = _string(args, 1, "unpack")
    at = integer_of(_number(args, 2, "unpack")) if len(args) > 2 and args[2] is not None else 1
    if at == 0:
        raise RefusedError("bad argument #3 to 'unpack' (offset must be 1 or greater)")
    at = at - 1 if at > 0 else len(data) + 1
    values: list[Any] = []
    for option, size in form.items():
        at += form.padding(at, option, size)
        _check_room(data, at, size)
        if len(values) >= VALUES_MAX:
            raise RefusedError("stack overflow (too many results)")
        if option == "c":
            if size == 0:
                if not values or number_of(values[-1]) is None:
                    raise RefusedError("format 'c0' needs a previous size")
                size = integer_of(number_of(values.pop()) or 0)
                _check_room(data, at, size)
            values.append(data[at : at + size])
        elif option == "s":
            end = data.find(b"\0", at)
            if end < 0:
                raise RefusedError("unfinished string in data")
            values.append(data[at:end])
            size = end - at + 1
        elif option != "x":
            values.append(_unpacked(option, data[at : at + size], form.big))
        at += size
    values.append(at + 1)
    return values


def _check_room(data: bytes, at: int, size: int) -> None:
    if size < 0 or at + size > len(data):
        raise RefusedError("bad argument #2 to 'unpack' (data string too short)")


def _unpacked(option: str, item: bytes, big: bool) -> float:
    if option in "fd":
        return float(struct.unpack((">" if big else "<") + option, item)[0])
    item = item[-8:] if big else item[:8]
    return float(int.from_bytes(item, "big" if big else "little", signed=option.islower()))


def size_of(*args: Any) -> int:
    """struct.size(format)"""
    form = _format(args, "size")
    total = 0
    for option, size in form.items():
        total += form.padding(total, option, size)
        if option == "s":
            raise RefusedError("bad argument #1 to 'size' (option 's' has no fixed size)")
        if option == "c" and size == 0:
            raise RefusedError("bad argument #1 to 'size' (option 'c0' has no fixed size)")
        total += size
        if total > _INT_MAX:
            raise RefusedError("bad argument #1 to 'size' (format too large)")
    return total


def double_bytes(number: float) -> bytes:
    """MessagePack of a number that is no integer: in four bytes where they hold all of it."""
    try:
        short = struct.pack(">f", number)
    except OverflowError:
        return b"\xcb" + struct.pack(">d", number)
    if struct.unpack(">f", short)[0] == number:
        return b"\xca" + short
    return b"\xcb" + struct.pack(">d", number)


def bytes_double(data: bytes) -> float:
    """A big-endian float of four or eight bytes."""
    return float(struct.unpack(">f" if len(data) == 4 else ">d", data)[0])


def _bits(value: Any) -> int:
    """A number as 32 bits: rounded, modulo 2**32."""
    number = number_of(value)
    if number is None:
        return 0
    if -(2.0**51) < number < 2.0**51:
        return round(number) & 0xFFFFFFFF
    try:
        shifted = float(number) + 6755399441055744.0
    except OverflowError:
        shifted = math.inf
    return int.from_bytes(struct.pack("<d", shifted)[:4], "little")


def _signed(bits: int) -> int:
    bits &= 0xFFFFFFFF
    return bits - 2**32 if bits & 0x80000000 else bits


def bit_operation(name: bytes, *args: Any) -> int | bytes:
    """One function of the `bit` library; the arguments are numbers."""
    bits = _bits(args[0])
    if name in _FOLDS:
        for other in args[1:]:
            bits = _FOLDS[name](bits, _bits(other))
        return _signed(bits)
    if name == b"tohex":
        return _hexadecimal(bits, _signed(_bits(args[1])) if len(args) > 1 else 8)
    if name == b"tobit":
        return _signed(bits)
    if name == b"bnot":
        return _signed(~bits)
    if name == b"bswap":
        return _signed(int.from_bytes(bits.to_bytes(4, "little"), "big"))
    return _signed(_SHIFTS[name](bits, _bits(args[1]) & 31))


def _hexadecimal(bits: int, digits: int) -> bytes:
    count = min(abs(digits), 8)
    text = b"%08x" % bits
    text = text[8 - count :]
    return text.upper() if digits < 0 else text


_FOLDS = {
    b"band": lambda left, right: left & right,
    b"bor": lambda left, right: left | right,
    b"bxor": lambda left, right: left ^ right,
}
_SHIFTS = {
    b"lshift": lambda bits, by: bits << by,
    b"rshift": lambda bits, by: bits >> by,
    b"arshift": lambda bits, by: _signed(bits) >> by,
    b"rol": lambda bits, by: bits << by | bits >> (32 - by),
    b"ror": lambda bits, by: bits >> by | bits << (32 - by),
}
