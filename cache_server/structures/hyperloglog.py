# cython: boundscheck=False, wraparound=False, cdivision=True
"""HyperLogLog: how many different elements a set has, from 16384 small registers.

Problem: counting different elements exactly takes memory for each of them. Idea: hash an element to
64 bits; 14 choose a register, and it keeps the longest run of zeros, plus one, that the other 50
began with. The histogram of the registers gives the estimate, with a standard error of 0.81 %.
Data and estimate are those of Redis bit by bit, so that values travel between the two.

    "HYLL"  encoding  3 bytes 0   cached count, 8 bytes, little endian      registers
    0       4         5           8 (bit 63: not valid)                     16 ...

    dense   (0)  6 bits a register, from the lowest bit of the first byte:
                 11000000 22221111 33333322
    sparse  (1)  00nnnnnn            n + 1 registers of 0
                 01nnnnnn nnnnnnnn   n + 1 registers of 0
                 1vvvvvnn            n + 1 registers of v + 1

A sparse value becomes dense when a register passes 32 or the text would pass a limit.

Invariants: a value is changed in place and stays the same bytearray; the runs of a sparse value
cover each register once, or `CorruptedError` is raised.

Sources: Heule, Nunkesser, Hall, "HyperLogLog in Practice"; for the estimate Ertl,
arXiv:1702.01284; for the hash Appleby's MurmurHash2 (64 bit).
"""

from __future__ import annotations

import math
from array import array

HEADER_BYTES = 16
REGISTERS = 16384
DENSE_BYTES = HEADER_BYTES + REGISTERS * 6 // 8
DENSE = 0
SPARSE = 1

#: The same numbers for the compiled form, where they are C's.
_HEADER_BYTES = HEADER_BYTES
_REGISTERS = REGISTERS
_DENSE_BYTES = DENSE_BYTES
_DENSE = DENSE
_SPARSE = SPARSE
_INDEX_BITS = 14
_HASH_BITS = 50
_SPARSE_VALUE_MAX = 32
_RUN_OF_VALUES_MAX = 4
_SHORT_RUN_MAX = 64
#: Opcodes looked at for runs to be joined, after a register changed.
_JOIN_OPCODES = 5

_MASK = 0xFFFFFFFFFFFFFFFF
_MULTIPLIER = 0xC6A4A7935BD1E995
_SEED = 0xADC83B19
_ALPHA = 0.721347520444481703680


class CorruptedError(Exception):
    """A sparse value whose runs are not of 16384 registers."""


def new() -> bytearray:
    """An empty set, sparse: one run of zeros."""
    data = bytearray(_HEADER_BYTES + 2)
    data[:4] = b"HYLL"
    data[4] = SPARSE
    data[16] = 0x40 | (_REGISTERS - 1) >> 8
    data[17] = (_REGISTERS - 1) & 0xFF
    return data


def has_header(data: bytes | bytearray) -> bool:
    """Whether it is a HyperLogLog by its header and, if dense, its length."""
    return _is_headed(data if type(data) is bytearray else bytearray(data))


def _is_headed(data: bytearray) -> bool:
    size = len(data)
    if size < _HEADER_BYTES:
        return False
    # The bytes one by one: a slice would be an object a request.
    if data[0] != 72 or data[1] != 89 or data[2] != 76 or data[3] != 76:  # HYLL
        return False
    encoding = data[4]
    return encoding == _SPARSE or (encoding == _DENSE and size == _DENSE_BYTES)


def is_dense(data: bytearray) -> bool:
    """Whether a HyperLogLog keeps every register."""
    return data[4] == _DENSE


# -- hashing -----------------------------------------------------------------------------------


def murmur64(data: bytes) -> int:
    """MurmurHash2, 64 bit, with Redis's seed."""
    size = len(data)
    total = _SEED ^ ((size * _MULTIPLIER) & _MASK)
    at = 0
    while at + 8 <= size:
        word = 0
        shift = 0
        while shift < 64:
            byte = data[at]
            word |= byte << shift
            shift += 8
            at += 1
        word = (word * _MULTIPLIER) & _MASK
        word ^= word >> 47
        word = (word * _MULTIPLIER) & _MASK
        total ^= word
        total = (total * _MULTIPLIER) & _MASK
    if at < size:
        shift = 0
        while at < size:
            byte = data[at]
            total ^= byte << shift
            shift += 8
            at += 1
        total = (total * _MULTIPLIER) & _MASK
    total ^= total >> 47
    total = (total * _MULTIPLIER) & _MASK
    total ^= total >> 47
    return total


def add(data: bytearray, element: bytes, bytes_max: int) -> int:
    """Adds an element; 1 where a register changed, else 0. Raises CorruptedError."""
    rest = murmur64(element)
    index = rest & (_REGISTERS - 1)
    rest >>= _INDEX_BITS
    run = 1
    while run <= _HASH_BITS and not rest & 1:
        rest >>= 1
        run += 1
    return raise_register(data, index, run, bytes_max)


def raise_register(data: bytearray, index: int, value: int, bytes_max: int) -> int:
    """Makes a register at least `value`; 1 where that changed it, else 0. Raises CorruptedError.

    A sparse value that would be longer than `bytes_max` becomes dense."""
    if data[4] == _DENSE:
        return _raise_dense(data, index, value)
    if value > _SPARSE_VALUE_MAX:
        to_dense(data)
        return _raise_dense(data, index, value)
    return _raise_sparse(data, index, value, bytes_max)


def raise_all(data: bytearray, values: bytearray, bytes_max: int) -> None:
    """Makes each register at least the byte of `values` at its index. Raises CorruptedError."""
    index = 0
    while index < _REGISTERS:
        value = values[index]
        if value:
            raise_register(data, index, value, bytes_max)
        index += 1


# -- dense -------------------------------------------------------------------------------------


def _raise_dense(data: bytearray, index: int, value: int) -> int:
    at = _HEADER_BYTES + (index * 6 >> 3)
    shift = index * 6 & 7
    low = data[at]
    if shift <= 2:
        if low >> shift & 63 >= value:
            return 0
        data[at] = low & ~(63 << shift) & 0xFF | value << shift
        return 1
    high = data[at + 1]
    if (low >> shift | high << (8 - shift)) & 63 >= value:
        return 0
    data[at] = (low & ~(63 << shift) | value << shift) & 0xFF
    data[at + 1] = (high & ~(63 >> (8 - shift)) | value >> (8 - shift)) & 0xFF
    return 1


def _load_dense(data: bytearray, registers: bytearray) -> None:
    """Raises each of `registers` (one a byte) to what the dense value holds."""
    index = 0
    at = _HEADER_BYTES
    while index < _REGISTERS:
        one = data[at]
        two = data[at + 1]
        three = data[at + 2]
        word = one | two << 8 | three << 16
        at += 3
        stop = index + 4
        while index < stop:
            value = word & 63
            if value > registers[index]:
                registers[index] = value
            word >>= 6
            index += 1


def to_dense(data: bytearray) -> None:
    """Changes a sparse value into a dense one; the cached count stays. Raises CorruptedError."""
    if data[4] == _DENSE:
        return
    registers = bytearray(_REGISTERS)
    merge(registers, data)
    del data[_HEADER_BYTES:]
    data.extend(bytes(_DENSE_BYTES - _HEADER_BYTES))
    data[4] = DENSE
    index = 0
    while index < _REGISTERS:
        value = registers[index]
        if value:
            _raise_dense(data, index, value)
        index += 1


# -- sparse ------------------------------------------------------------------------------------


def _long_run(data: bytearray, at: int) -> int:
    """Length of the run of two bytes at `at`; beyond the end there is a zero."""
    low = data[at + 1] if at + 1 < len(data) else 0
    high = data[at]
    return ((high & 63) << 8 | low) + 1


def merge(registers: bytearray, data: bytearray) -> None:
    """Raises each of `registers` (one a byte) to what the value holds. Raises CorruptedError."""
    if data[4] == _DENSE:
        _load_dense(data, registers)
        return
    index = 0
    at = _HEADER_BYTES
    end = len(data)
    while at < end:
        byte = data[at]
        value = 0
        if byte & 0x80:
            run = (byte & 3) + 1
            value = (byte >> 2 & 31) + 1
        elif byte & 0x40:
            run = _long_run(data, at)
            at += 1
        else:
            run = byte + 1
        at += 1
        stop = index + run
        if stop > _REGISTERS:
            raise CorruptedError
        if value:
            while index < stop:
                if value > registers[index]:
                    registers[index] = value
                index += 1
        index = stop
    if index != _REGISTERS:
        raise CorruptedError


def _raise_sparse(data: bytearray, index: int, value: int, bytes_max: int) -> int:
    end = len(data)
    before = _HEADER_BYTES
    at = _HEADER_BYTES
    first = 0
    run = 0
    opcode = 0
    while at < end:
        opcode = data[at]
        if opcode & 0x80:
            run = (opcode & 3) + 1
        elif opcode & 0x40:
            run = _long_run(data, at)
        else:
            run = opcode + 1
        if index < first + run:
            break
        before = at
        at += 2 if opcode & 0xC0 == 0x40 else 1
        first += run
    if at >= end:
        raise CorruptedError
    held = (opcode >> 2 & 31) + 1 if opcode & 0x80 else 0
    if held >= value:
        return 0
    if run == 1 and opcode & 0xC0 != 0x40:
        data[at] = 0x80 | (value - 1) << 2
    else:
        parts = _split(held, value, index - first, first + run - 1 - index)
        old = 2 if opcode & 0xC0 == 0x40 else 1
        if len(parts) > old and end + len(parts) - old > bytes_max:
            to_dense(data)
            return _raise_dense(data, index, value)
        data[at : at + old] = parts
    _join(data, before)
    invalidate(data)
    return 1


def _split(held: int, value: int, left: int, right: int) -> bytearray:
    """The opcodes of `left` registers of `held`, one of `value`, and `right` of `held`."""
    parts = bytearray()
    _append_run(parts, held, left)
    parts.append(0x80 | (value - 1) << 2)
    _append_run(parts, held, right)
    return parts


def _append_run(parts: bytearray, value: int, run: int) -> None:
    if run <= 0:
        return
    if value:
        parts.append(0x80 | (value - 1) << 2 | run - 1)
    elif run > _SHORT_RUN_MAX:
        parts.append(0x40 | run - 1 >> 8)
        parts.append((run - 1) & 0xFF)
    else:
        parts.append(run - 1)


def _join(data: bytearray, at: int) -> None:
    """Makes one run of two that have the same value, near the opcode at `at`."""
    looked_at = 0
    while looked_at < _JOIN_OPCODES and at < len(data):
        looked_at += 1
        opcode = data[at]
        if not opcode & 0x80:
            at += 2 if opcode & 0x40 else 1
            continue
        if at + 1 < len(data):
            second = data[at + 1]
            run = (opcode & 3) + (second & 3) + 2
            if second & 0xFC == opcode & 0xFC and run <= _RUN_OF_VALUES_MAX:
                data[at + 1] = second & 0xFC | run - 1
                del data[at]
                continue
        at += 1


# -- counting ----------------------------------------------------------------------------------


def invalidate(data: bytearray) -> None:
    """The cached count holds no more."""
    data[15] = data[15] | 0x80


def cached_count(data: bytearray) -> int:
    """The count in the header, -1 where it does not hold."""
    return -1 if data[15] & 0x80 else int.from_bytes(data[8:16], "little")


def cache_count(data: bytearray, count: int) -> None:
    """Notes the count in the header."""
    data[8:16] = count.to_bytes(8, "little")


def count(data: bytearray) -> int:
    """The estimate, computed anew. Raises CorruptedError."""
    registers = bytearray(_REGISTERS)
    merge(registers, data)
    return count_registers(registers)


def count_registers(registers: bytearray) -> int:
    """The estimate from registers of a byte each."""
    histogram = array("i", bytes(256))
    counts = histogram
    index = 0
    while index < _REGISTERS:
        value = registers[index] & 63
        counts[value] += 1
        index += 1
    return _estimate(histogram)


def _estimate(histogram: array[int]) -> int:
    size = float(_REGISTERS)
    total = size * _tau((size - histogram[_HASH_BITS + 1]) / size)
    for value in range(_HASH_BITS, 0, -1):
        total = (total + histogram[value]) * 0.5
    total += size * _sigma(histogram[0] / size)
    if total == 0.0:
        return 1 << 63  # no hash gives such registers; what C makes of infinity
    exact = _ALPHA * size * size / total
    whole = math.floor(exact)
    return whole + 1 if exact - whole >= 0.5 else whole


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y = 1.0
    total = x
    last = -1.0
    while total != last:
        x *= x
        last = total
        total += x * y
        y += y
    return total


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y = 1.0
    total = 1.0 - x
    last = -1.0
    while total != last:
        x = math.sqrt(x)
        last = total
        y *= 0.5
        total -= (1.0 - x) * (1.0 - x) * y
    return total / 3.0


# -- showing -----------------------------------------------------------------------------------


def register_values(data: bytearray) -> list[int]:
    """All registers. Raises CorruptedError."""
    registers = bytearray(_REGISTERS)
    merge(registers, data)
    return list(registers)


def opcodes(data: bytearray) -> bytes:
    """The runs of a sparse value in words: z:n and Z:n for zeros, v:value,n for others."""
    words = []
    at = _HEADER_BYTES
    while at < len(data):
        byte = data[at]
        if byte & 0x80:
            words.append(b"v:%d,%d" % ((byte >> 2 & 31) + 1, (byte & 3) + 1))
        elif byte & 0x40:
            words.append(b"Z:%d" % _long_run(data, at))
            at += 1
        else:
            words.append(b"z:%d" % (byte + 1))
        at += 1
    return b" ".join(words)
