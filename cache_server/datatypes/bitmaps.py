"""Bitmaps: strings whose bits are counted from the left, and integers of any width in them.

    byte          0                 1
    bit offset    0 1 2 3 4 5 6 7   8 9 ...       bit 0 is the highest bit of byte 0

A bitmap is a string like any other. One that is written into is held as a bytearray and changed in
place, so that SETBIT costs the same at every size; it grows with zeros up to the byte it needs.
Whole texts are counted, searched and combined by `structures/bits`.

Source: https://redis.io/docs/latest/commands/?group=bitmap.
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import (
    INT64_MAX,
    INT64_MIN,
    integer_or_none,
    parse_in_range,
    parse_integer,
)
from cache_server.errors import CommandError, syntax_error
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_STRING, string_bytes
from cache_server.structures import bits

_BAD_OFFSET = b"ERR bit offset is not an integer or out of range"
_BAD_BIT = b"ERR bit is not an integer or out of range"
_BAD_TYPE = (
    b"ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but "
    b"i64 is."
)

#: A number that stays one of Python's in the compiled form: 1 << 64 is to be right.
_ONE = 1


# -- single bits -------------------------------------------------------------------------------


def _offset(ctx: Any, word: bytes) -> int:
    offset = integer_or_none(word)
    return _checked_offset(ctx, -1 if offset is None else offset)


def _checked_offset(ctx: Any, offset: int) -> int:
    """Refuses what no string may be long enough for; not in what has happened already."""
    if offset < 0 or (
        offset >> 3 >= ctx.config.proto_max_bulk_len
        and not ctx.flags & (states.LEADER | states.REPLAY)
    ):
        raise CommandError(_BAD_OFFSET)
    return offset


def _opened(db: Any, key: bytes, size: int) -> tuple[bytearray, bool]:
    """The string in the form that is changed in place, of at least `size` bytes, and whether it
    is new or longer than it was. Raises WRONGTYPE."""
    value = db.write_string(key)
    if value is None:
        value = bytearray(size)
        db.put(key, value)
        return value, True
    if type(value) is not bytearray:
        value = bytearray(string_bytes(value))
        db.put(key, value, True)
    missing = size - len(value)
    if missing <= 0:
        return value, False
    value.extend(bytes(missing))
    return value, True


def setbit_command(ctx: Any, args: list[bytes]) -> int:
    """SETBIT key offset value: the bit as it was."""
    place = _offset(ctx, args[2])
    bit = parse_in_range(args[3], 0, 1, _BAD_BIT)
    db = ctx.db
    key = args[1]
    index = place >> 3
    data, changed = _opened(db, key, index + 1)
    mask = 128 >> (place & 7)
    byte = data[index]
    old = 1 if byte & mask else 0
    if changed or old != bit:
        data[index] = byte | mask if bit else byte & ~mask
        db.changed(key, NOTIFY_STRING, b"setbit")
    return old


def getbit_command(ctx: Any, args: list[bytes]) -> int:
    """GETBIT key offset: 0 beyond the end."""
    place = _offset(ctx, args[2])
    data = _read(ctx, args[1])
    index = place >> 3
    if data is None or index >= len(data):
        return 0
    byte = data[index]
    return 1 if byte & (128 >> (place & 7)) else 0


def _read(ctx: Any, key: bytes) -> bytes | bytearray | None:
    """A string without copying one that grows. Raises WRONGTYPE."""
    value = ctx.db.read(key)
    if value is None or type(value) is bytes or type(value) is bytearray:
        return value
    return string_bytes(value)


# -- whole bitmaps -----------------------------------------------------------------------------


def bitcount_command(ctx: Any, args: list[bytes]) -> int:
    """BITCOUNT key [start end [BYTE | BIT]]"""
    data = _read(ctx, args[1])
    if data is None:
        return 0
    size = len(data)
    if len(args) == 2:
        return bits.count_ones(data, 0, size)
    if not 4 <= len(args) <= 5:
        raise syntax_error()
    start = parse_integer(args[2])
    end = parse_integer(args[3])
    if start < 0 and end < 0 and start > end:
        return 0
    by_bit = len(args) == 5 and _counts_bits(args[4])
    first, last = _clipped(start, end, size * 8 if by_bit else size)
    if first > last:
        return 0
    if not by_bit:
        return bits.count_ones(data, first, last + 1)
    count = bits.count_ones(data, first >> 3, (last >> 3) + 1)
    before = data[first >> 3] >> (8 - (first & 7))
    behind = data[last >> 3] & (127 >> (last & 7))
    return count - before.bit_count() - behind.bit_count()


def _counts_bits(word: bytes) -> bool:
    unit = word.lower()
    if unit not in (b"bit", b"byte"):
        raise syntax_error()
    return unit == b"bit"


def _clipped(start: int, end: int, size: int) -> tuple[int, int]:
    """Both ends counted from the front and within the size; both belong to the range."""
    first = max(0, start + size if start < 0 else start)
    last = max(0, end + size if end < 0 else end)
    return first, min(last, size - 1)


def bitpos_command(ctx: Any, args: list[bytes]) -> int:
    """BITPOS key bit [start [end [BYTE | BIT]]]: -1 where there is none.

    Without an end the string is looked at as if zeros followed it for ever."""
    bit = parse_integer(args[2])
    if bit not in (0, 1):
        raise CommandError(b"ERR The bit argument must be 1 or 0.")
    data = _read(ctx, args[1])
    if data is None:
        return -1 if bit else 0
    if len(args) > 6:
        raise syntax_error()
    start = parse_integer(args[3]) if len(args) > 3 else 0
    by_bit = len(args) == 6 and _counts_bits(args[5])
    end = parse_integer(args[4]) if len(args) > 4 else -1
    first, last = _clipped(start, end, len(data) * 8 if by_bit else len(data))
    if not data or first > last:
        return -1
    if not by_bit:
        first, last = first * 8, last * 8 + 7
    found = _find_bit(data, bit, first, last)
    if found < 0 and bit == 0 and len(args) < 5:
        return last + 1
    return found


def _find_bit(data: bytes | bytearray, bit: int, first: int, last: int) -> int:
    """Offset of the first such bit from `first` to `last`, or -1."""
    index = first >> 3
    byte = (data[index] ^ (0 if bit else 255)) & (255 >> (first & 7))
    if not byte:
        index = bits.find_other(data, not bit, index + 1, (last >> 3) + 1)
        if index < 0:
            return -1
        byte = data[index] ^ (0 if bit else 255)
    offset = index * 8 + 8 - byte.bit_length()
    return offset if offset <= last else -1


_NOT = -1
_OPERATIONS = {b"and": bits.AND, b"or": bits.OR, b"xor": bits.XOR, b"not": _NOT}


def bitop_command(ctx: Any, args: list[bytes]) -> int:
    """BITOP AND | OR | XOR | NOT destination key [key ...]: the length of the result."""
    operation = _OPERATIONS.get(args[1].lower())
    if operation is None:
        raise syntax_error()
    if operation == _NOT and len(args) != 4:
        raise CommandError(b"ERR BITOP NOT must be called with a single source key.")
    texts = []
    size = 0
    for index in range(3, len(args)):
        text = _read(ctx, args[index]) or b""
        texts.append(text)
        size = max(size, len(text))
    db, key = ctx.db, args[2]
    if size:
        inverts = operation == _NOT
        db.put(key, bits.invert(texts[0]) if inverts else bits.combine(operation, texts, size))
        db.changed(key, NOTIFY_STRING, b"set")
    elif db.delete(key):
        db.changed(key, NOTIFY_GENERIC, b"del")
    return size


# -- integers in bitmaps -----------------------------------------------------------------------


class Field:
    """One step of BITFIELD: an integer of `width` bits at `offset`, and what is done with it.

    `action` is get, set or incrby; `overflow` is wrap, sat or fail."""

    def __init__(self, action: bytes, overflow: bytes, kind: bytes) -> None:
        self.action = action
        self.overflow = overflow
        self.signed = kind[:1] == b"i"
        width = integer_or_none(kind[1:])
        if kind[:1] not in (b"i", b"u") or width is None or not 1 <= width <= 63 + self.signed:
            raise CommandError(_BAD_TYPE)
        self.width = width
        self.offset = 0
        self.operand = 0

    def end(self) -> int:
        """Bytes that a string needs to hold it."""
        return (self.offset + self.width + 7) >> 3

    def load(self, data: bytes | bytearray) -> int:
        """Its value in `data`, which is as if it went on with zeros."""
        number = bits.load_field(data, self.offset, self.width)
        if self.signed and number >> (self.width - 1):
            number -= _ONE << self.width
        return number

    def store(self, data: bytearray, number: int) -> None:
        """Puts it into `data`, which is long enough."""
        bits.store_field(data, self.offset, self.width, number & ((_ONE << self.width) - 1))

    def fitted(self, number: int) -> int | None:
        """The number as the width can hold it; None where that is refused."""
        low, high = 0, (_ONE << self.width) - 1
        if self.signed:
            low, high = -(_ONE << (self.width - 1)), high >> 1
        if low <= number <= high:
            return number
        if self.overflow == b"fail":
            return None
        if self.overflow == b"sat":
            return low if number < low else high
        return (number - low) % (_ONE << self.width) + low

    def new_value(self, old: int) -> int | None:
        """What is to be stored instead of `old`; None where that is refused."""
        if self.action == b"incrby":
            return self.fitted(old + self.operand)
        # An unsigned field takes a negative number for the large one of the same 64 bits.
        return self.fitted(self.operand if self.signed else self.operand % 2**64)


def _parse_fields(ctx: Any, args: list[bytes]) -> list[Field]:
    fields: list[Field] = []
    overflow = b"wrap"
    index = 2
    while index < len(args):
        word = args[index].lower()
        left = len(args) - index - 1
        if word == b"overflow" and left >= 1:
            overflow = args[index + 1].lower()
            if overflow not in (b"wrap", b"sat", b"fail"):
                raise CommandError(b"ERR Invalid OVERFLOW type specified")
            index += 2
            continue
        if not ((word == b"get" and left >= 2) or (word in (b"set", b"incrby") and left >= 3)):
            raise syntax_error()
        field = Field(word, overflow, args[index + 1])
        field.offset = _field_offset(ctx, args[index + 2], field.width)
        index += 3
        if word != b"get":
            field.operand = parse_integer(args[index])
            index += 1
        fields.append(field)
    return fields


def _field_offset(ctx: Any, word: bytes, width: int) -> int:
    """A bit offset, or #n for the n-th field of this width."""
    if word[:1] != b"#":
        return _offset(ctx, word)
    offset = integer_or_none(word[1:])
    if offset is None or not INT64_MIN <= offset * width <= INT64_MAX:
        raise CommandError(_BAD_OFFSET)
    return _checked_offset(ctx, offset * width)


def bitfield_command(ctx: Any, args: list[bytes]) -> list[int | None]:
    """BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value |
    INCRBY type offset increment] ..."""
    fields = _parse_fields(ctx, args)
    size = 0
    for field in fields:
        if field.action != b"get":
            size = max(size, field.end())
    if not size:
        return _load_all(ctx, args[1], fields)
    db = ctx.db
    key = args[1]
    data, grown = _opened(db, key, size)
    replies: list[int | None] = []
    changes = 0
    for field in fields:
        old = field.load(data)
        if field.action == b"get":
            replies.append(old)
            continue
        new = field.new_value(old)
        if new is None:
            replies.append(None)
            continue
        field.store(data, new)
        changes += grown or new != old
        replies.append(old if field.action == b"set" else new)
    if changes:
        db.changed(key, NOTIFY_STRING, b"setbit", changes)
    return replies


def bitfield_ro_command(ctx: Any, args: list[bytes]) -> list[int]:
    """BITFIELD_RO key [GET type offset ...]"""
    fields = _parse_fields(ctx, args)
    if any(field.action != b"get" for field in fields):
        raise CommandError(b"ERR BITFIELD_RO only supports the GET subcommand")
    return _load_all(ctx, args[1], fields)


def _load_all(ctx: Any, key: bytes, fields: list[Field]) -> list[Any]:
    data = _read(ctx, key) or b""
    return [field.load(data) for field in fields]


# -- rows --------------------------------------------------------------------------------------

_ONE_KEY = (1, 1, 1)

#: name, arity, flags, handler, keys, since, complexity, summary
_ROWS: list[tuple[str, int, str, Any, tuple[int, int, int], str, str, str]] = [
    ("setbit", 4, "write denyoom", setbit_command, _ONE_KEY, "2.2.0", "O(1)",
     "Sets or clears the bit at offset in the string value stored at key"),
    ("getbit", 3, "readonly fast", getbit_command, _ONE_KEY, "2.2.0", "O(1)",
     "Returns the bit value at offset in the string value stored at key"),
    ("bitcount", -2, "readonly", bitcount_command, _ONE_KEY, "2.6.0", "O(N)",
     "Count set bits in a string"),
    ("bitpos", -3, "readonly", bitpos_command, _ONE_KEY, "2.8.7", "O(N)",
     "Find first bit set or clear in a string"),
    ("bitop", -4, "write denyoom", bitop_command, (2, -1, 1), "2.6.0", "O(N)",
     "Perform bitwise operations between strings"),
    ("bitfield", -2, "write denyoom", bitfield_command, _ONE_KEY, "3.2.0",
     "O(1) for each subcommand specified",
     "Perform arbitrary bitfield integer operations on strings"),
    ("bitfield_ro", -2, "readonly fast", bitfield_ro_command, _ONE_KEY, "6.0.0",
     "O(1) for each subcommand specified",
     "Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD"),
]  # fmt: skip

COMMANDS = [
    Command(
        name,
        arity,
        flags,
        handler,
        keys,
        group="bitmap",
        since=since,
        summary=summary,
        complexity=complexity,
    )
    for name, arity, flags, handler, keys, since, complexity, summary in _ROWS
]
