"""LZF: the compression of strings inside Redis's snapshots.

The format, as its author publishes it with liblzf (http://oldhome.schmorp.de/marc/liblzf.html):

    000LLLLL <L+1 bytes>             literals, 1 to 32 of them
    LLLooooo oooooooo                copy L+2 (3 to 8) bytes from o+1 (1 to 8192) bytes back
    111ooooo LLLLLLLL oooooooo       copy L+9 (9 to 264) bytes from o+1 bytes back

A copy may reach into the bytes it is producing itself; that is how runs are written.

Decompression trusts nothing: every reference is checked, and the result has the promised length or
the input is refused. Compression finds matches by a table of the last place where three bytes with
one hash were seen. The table is kept between calls: places are numbered on from call to call, so
what an earlier call left is recognised as old and clearing costs nothing.
"""

from __future__ import annotations

from array import array

from cache_server.errors import InputError

#: Most bytes that one byte of input can stand for: three bytes make 264.
EXPANSION_MAX = 88

_OFFSET_MAX = 1 << 13
_COPY_MAX = 264
_LITERALS_MAX = 32
_HASH_BITS = 13
_PLACE_MAX = 1 << 31
#: Longer strings are left as they are: their places would not fit the table.
_SIZE_MAX = 1 << 30


def decompress(data: bytes, length: int) -> bytes:
    """The `length` bytes that `data` stands for. Raises InputError when it does not."""
    if length > len(data) * EXPANSION_MAX:
        raise InputError(f"LZF data of {len(data)} bytes cannot hold {length} bytes")
    out = bytearray()
    position = 0
    end = len(data)
    while position < end:
        control = data[position]
        position += 1
        if control < _LITERALS_MAX:
            stop = position + control + 1
            if stop > end:
                raise InputError("LZF literals reach beyond the end of the data")
            out += data[position:stop]
            position = stop
        else:
            count = (control >> 5) + 2
            if count == 9:
                if position >= end:
                    raise InputError("LZF data ends inside a length")
                count += data[position]
                position += 1
            if position >= end:
                raise InputError("LZF data ends inside an offset")
            back = ((control & 31) << 8) + data[position] + 1
            position += 1
            made = len(out)
            if back > made:
                raise InputError("LZF reference reaches before the beginning of the data")
            if back >= count:
                out += out[made - back : made - back + count]
            else:
                run = out[made - back :]
                out += (run * (count // back + 1))[:count]
        if len(out) > length:
            break
    if len(out) != length:
        raise InputError(f"LZF data does not hold the {length} bytes that it promises")
    return bytes(out)


class Compressor:
    """Compresses strings, one after the other."""

    def __init__(self) -> None:
        self._base = 1
        self._places = array("I", bytes(4 << _HASH_BITS))

    def compress(self, data: bytes) -> bytes | None:
        """`data` in LZF, or None where that would not be at least four bytes shorter."""
        size = len(data)
        if size < 5 or size > _SIZE_MAX:
            return None
        if self._base + size >= _PLACE_MAX:
            self.__init__()  # type: ignore[misc]
        places = self._places
        base = self._base
        self._base += size
        out = bytearray()
        limit = size - 4
        start = 0
        position = 0
        last = size - 2
        while position < last:
            word = (data[position] << 16) | (data[position + 1] << 8) | data[position + 2]
            slot = ((word * 2654435761) & 0xFFFFFFFF) >> (32 - _HASH_BITS)
            place = places[slot]
            places[slot] = base + position
            if place >= base:
                match = place - base
                back = position - match
                if (
                    back <= _OFFSET_MAX
                    and data[match] == data[position]
                    and data[match + 1] == data[position + 1]
                    and data[match + 2] == data[position + 2]
                ):
                    count = 3
                    most = min(_COPY_MAX, size - position)
                    while count < most and data[match + count] == data[position + count]:
                        count += 1
                    self._literals(out, data, start, position)
                    self._copy(out, back - 1, count - 2)
                    position += count
                    start = position
                    if len(out) > limit:
                        return None
                    continue
            position += 1
            if position - start > limit:
                return None
        self._literals(out, data, start, size)
        return bytes(out) if len(out) <= limit else None

    def _literals(self, out: bytearray, data: bytes, start: int, stop: int) -> None:
        while start < stop:
            count = min(_LITERALS_MAX, stop - start)
            out.append(count - 1)
            out += data[start : start + count]
            start += count

    def _copy(self, out: bytearray, offset: int, count: int) -> None:
        if count < 7:
            out.append((count << 5) | (offset >> 8))
        else:
            out.append((7 << 5) | (offset >> 8))
            out.append(count - 7)
        out.append(offset & 255)
