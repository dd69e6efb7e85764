"""The packed forms of small values in Redis's snapshots: listpack, ziplist, intset, zipmap.

Each is one string that holds a sequence of elements. They are read in full into a list of bytes
(integers as decimal digits) and checked on the way: sizes, counts, back links and the end mark all
have to agree, so a damaged one is refused and never half read.

    listpack   total bytes (4) | count (2) | element ... | FF
               element: encoding and data | its length again, 1 to 5 bytes, readable backwards
    ziplist    total bytes (4) | offset of the last entry (4) | count (2) | entry ... | FF
               entry: length of the entry before (1 or 5) | encoding | data
    intset     width 2, 4 or 8 (4) | count (4) | integers, ascending
    zipmap     count (1) | key length | key | value length | unused (1) | value | padding ... | FF

Numbers are little-endian except where an encoding says otherwise; a count of 65535 (zipmap: 254
or more) means "more than fit here". Every function raises InputError, with the offset, and nothing
else.

Sources: https://github.com/antirez/listpack (the specification of listpacks), and files written by
redis-server 2.4 to 7.0.
"""

from __future__ import annotations

from cache_server.errors import InputError

_COUNT_UNKNOWN = 65535


def _little(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "little")


def _signed(data: bytes, start: int, size: int) -> bytes:
    return b"%d" % int.from_bytes(data[start : start + size], "little", signed=True)


def _damage(kind: str, position: int, what: str) -> InputError:
    return InputError(f"{kind}: {what} at its offset {position}")


# -- listpack ------------------------------------------------------------------------------------


def _backward_length(size: int) -> bytes:
    """The length of an element as it is written behind it: 7 bits a byte, the highest first."""
    if size <= 127:
        return bytes((size,))
    if size < 16383:
        width = 2
    elif size < 2097151:
        width = 3
    elif size < 268435455:
        width = 4
    else:
        width = 5
    groups = [(size >> (7 * index)) & 127 for index in range(width)]
    groups.reverse()
    return bytes((groups[0], *(group | 128 for group in groups[1:])))


def _listpack_element(data: bytes, position: int, end: int) -> tuple[bytes, int]:
    """The element at `position` and its size without the length behind it."""
    lead = data[position]
    if lead < 0x80:
        return b"%d" % lead, 1
    if lead < 0xC0:
        header, size = 1, lead & 63
    elif lead < 0xE0:
        if position + 2 > end:
            raise _damage("listpack", position, "an element is cut short")
        number = ((lead & 31) << 8) | data[position + 1]
        return b"%d" % (number - 8192 if number >= 4096 else number), 2
    elif lead < 0xF0:
        header, size = 2, ((lead & 15) << 8) | _little(data, position + 1, 1)
    elif lead == 0xF0:
        header, size = 5, _little(data, position + 1, 4)
    elif lead < 0xF5:
        width = (2, 3, 4, 8)[lead - 0xF1]
        if position + 1 + width > end:
            raise _damage("listpack", position, "an element is cut short")
        return _signed(data, position + 1, width), 1 + width
    else:
        raise _damage("listpack", position, f"encoding {lead:#04x} does not exist")
    if position + header + size > end:
        raise _damage("listpack", position, f"an element of {size} bytes is cut short")
    return data[position + header : position + header + size], header + size


def read_listpack(data: bytes) -> list[bytes]:
    """All elements."""
    size = len(data)
    if size < 7 or _little(data, 0, 4) != size or data[size - 1] != 0xFF:
        raise _damage("listpack", 0, f"the frame of {size} bytes is not whole")
    elements: list[bytes] = []
    position = 6
    end = size - 1
    while position < end:
        element, used = _listpack_element(data, position, end)
        behind = _backward_length(used)
        position += used
        if data[position : position + len(behind)] != behind or position + len(behind) > end:
            raise _damage("listpack", position, "the length behind an element is wrong")
        position += len(behind)
        elements.append(element)
    count = _little(data, 4, 2)
    if count not in (len(elements), _COUNT_UNKNOWN):
        raise _damage("listpack", 4, f"{len(elements)} elements where {count} are promised")
    return elements


def _listpack_string(element: bytes) -> bytes:
    size = len(element)
    if size < 64:
        head = bytes((0x80 | size,))
    elif size < 4096:
        head = bytes((0xE0 | (size >> 8), size & 255))
    else:
        head = b"\xf0" + size.to_bytes(4, "little")
    return head + element


def _listpack_integer(number: int) -> bytes:
    if 0 <= number <= 127:
        return bytes((number,))
    if -4096 <= number <= 4095:
        number &= 8191
        return bytes((0xC0 | (number >> 8), number & 255))
    for lead, width in ((0xF1, 2), (0xF2, 3), (0xF3, 4), (0xF4, 8)):
        if -(1 << (8 * width - 1)) <= number < 1 << (8 * width - 1):
            return bytes((lead,)) + number.to_bytes(width, "little", signed=True)
    raise ValueError(number)


def write_listpack(elements: list[bytes | int]) -> bytes:
    """A listpack of the elements: `int` as integers (of 64 bits), `bytes` as strings."""
    out = bytearray(6)
    for element in elements:
        body = _listpack_integer(element) if isinstance(element, int) else _listpack_string(element)
        out += body
        out += _backward_length(len(body))
    out.append(0xFF)
    out[0:4] = len(out).to_bytes(4, "little")
    out[4:6] = min(len(elements), _COUNT_UNKNOWN).to_bytes(2, "little")
    return bytes(out)


# -- ziplist -------------------------------------------------------------------------------------


def _ziplist_entry(data: bytes, position: int, end: int) -> tuple[bytes, int]:
    """The entry whose encoding is at `position`, and the bytes from there to its end."""
    lead = data[position]
    if lead >= 0xC0:
        width = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}.get(lead)
        if width is None:
            if 0xF1 <= lead <= 0xFD:
                return b"%d" % ((lead & 15) - 1), 1
            raise _damage("ziplist", position, f"encoding {lead:#04x} does not exist")
        if position + 1 + width > end:
            raise _damage("ziplist", position, "an entry is cut short")
        return _signed(data, position + 1, width), 1 + width
    if lead < 0x40:
        header, size = 1, lead
    elif lead < 0x80:
        header, size = 2, ((lead & 63) << 8) | _little(data, position + 1, 1)
    elif lead == 0x80:
        header, size = 5, int.from_bytes(data[position + 1 : position + 5], "big")
    else:
        raise _damage("ziplist", position, f"encoding {lead:#04x} does not exist")
    if position + header + size > end:
        raise _damage("ziplist", position, f"an entry of {size} bytes is cut short")
    return data[position + header : position + header + size], header + size


def read_ziplist(data: bytes) -> list[bytes]:
    """All entries."""
    size = len(data)
    if size < 11 or _little(data, 0, 4) != size or data[size - 1] != 0xFF:
        raise _damage("ziplist", 0, f"the frame of {size} bytes is not whole")
    entries: list[bytes] = []
    position = tail = 10
    end = size - 1
    before = 0
    while position < end:
        tail = position
        if data[position] == 0xFE:
            link, header = _little(data, position + 1, 4), 5
        else:
            link, header = data[position], 1
        if link != before or position + header >= end:
            raise _damage("ziplist", position, "the link to the entry before is wrong")
        entry, used = _ziplist_entry(data, position + header, end)
        before = header + used
        position += before
        entries.append(entry)
    if _little(data, 4, 4) != tail:
        raise _damage("ziplist", 4, "the offset of the last entry is wrong")
    count = _little(data, 8, 2)
    if count not in (len(entries), _COUNT_UNKNOWN):
        raise _damage("ziplist", 8, f"{len(entries)} entries where {count} are promised")
    return entries


# -- intset --------------------------------------------------------------------------------------


def read_intset(data: bytes) -> list[bytes]:
    """All members as digits, ascending."""
    width = _little(data, 0, 4)
    count = _little(data, 4, 4)
    if len(data) < 8 or width not in (2, 4, 8) or len(data) != 8 + width * count:
        raise _damage("intset", 0, f"{len(data)} bytes for {count} integers of {width} bytes")
    numbers = [
        int.from_bytes(data[start : start + width], "little", signed=True)
        for start in range(8, len(data), width)
    ]
    for index in range(1, count):
        if numbers[index - 1] >= numbers[index]:
            raise _damage("intset", 8 + index * width, "the integers are not ascending")
    return [b"%d" % number for number in numbers]


# -- zipmap --------------------------------------------------------------------------------------


def _zipmap_length(data: bytes, position: int) -> tuple[int, int]:
    """A length and the offset behind it."""
    if data[position] < 254:
        return data[position], position + 1
    if data[position] == 254 and position + 5 <= len(data):
        length = _little(data, position + 1, 4)
        if length >= 254:
            return length, position + 5
    raise _damage("zipmap", position, "a length is wrong")


def read_zipmap(data: bytes) -> list[bytes]:
    """Keys and values in turn."""
    size = len(data)
    if size < 2 or data[size - 1] != 0xFF:
        raise _damage("zipmap", 0, f"the frame of {size} bytes is not whole")
    items: list[bytes] = []
    position = 1
    end = size - 1
    while position < end:
        length, position = _zipmap_length(data, position)
        key = data[position : position + length]
        position += length
        if position >= end:
            raise _damage("zipmap", position, "a key has no value")
        length, position = _zipmap_length(data, position)
        if position >= end:
            raise _damage("zipmap", position, "a value is cut short")
        unused = data[position]
        position += 1
        value = data[position : position + length]
        position += length + unused
        if position > end:
            raise _damage("zipmap", position, "a value is cut short")
        items += (key, value)
    if not items:
        raise _damage("zipmap", 0, "it is empty")
    if data[0] < 254 and data[0] != len(items) // 2:
        raise _damage("zipmap", 0, f"{len(items) // 2} pairs where {data[0]} are promised")
    return items
