# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Reader, compiled: what `snapshot_reader.py` says, on the memory of `data`.

The common form of a string, a length of one or two bytes and the string, is read in place; every
other form, and every end of the data, is left to the methods that know them all.

Invariants: `text` is the memory of `data`, of which `end` bytes may be read.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from cache_server.constants import SNAPSHOT_COUNT_MAX, SNAPSHOT_STRING_BYTES_MAX
from cache_server.errors import InputError
from cache_server.persistence.lzf import EXPANSION_MAX, decompress

cdef extern from "Python.h":
    bytes PyBytes_FromFormat(const char *, ...)
    double PyFloat_Unpack8(const char *, int) except? -1

cdef unsigned long long COUNT_MAX = SNAPSHOT_COUNT_MAX
cdef unsigned long long STRING_BYTES_MAX = SNAPSHOT_STRING_BYTES_MAX
cdef Py_ssize_t EXPANSION = EXPANSION_MAX


class Truncated(Exception):
    """The data ends before the item does."""


cdef inline bytes cut(const unsigned char *text, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char *>text, size)


cdef inline unsigned long long little(const unsigned char *text, int size) noexcept:
    """An integer of up to 8 bytes, the lowest first."""
    cdef unsigned long long value = 0
    while size:
        size -= 1
        value = value << 8 | text[size]
    return value


cdef inline Py_ssize_t plain(const unsigned char *text, Py_ssize_t *at, Py_ssize_t end) noexcept:
    """The size of a string with a short length that is there whole, and where it begins; or -1."""
    cdef Py_ssize_t start = at[0]
    cdef Py_ssize_t size
    if start + 1 >= end:
        return -1
    size = text[start]
    start += 1
    if size >= 128:
        return -1
    if size >= 64:
        size = (size & 63) << 8 | text[start]
        start += 1
    if size > end - start:
        return -1
    at[0] = start
    return size


@cython.final
@cython.no_gc
cdef class Reader:
    """Reads the elements of the format from `data`. Raises Truncated and InputError.

    After Truncated, `wanted` is how long the data would have to be for the read to go on."""

    def __init__(self, bytes data not None):
        self.data = data
        self.text = <const unsigned char *>PyBytes_AS_STRING(data)
        self.position = 0
        self.end = PyBytes_GET_SIZE(data)
        self.wanted = 0

    cdef int truncated(self, Py_ssize_t wanted) except -1:
        self.wanted = wanted
        raise Truncated

    cpdef int byte(self) except -1:
        if self.position >= self.end:
            self.truncated(self.position + 1)
        self.position += 1
        return self.text[self.position - 1]

    cpdef bytes take(self, Py_ssize_t size):
        """The next `size` bytes."""
        cdef Py_ssize_t start = self.position
        if size < 0 or size > self.end - start:
            self.truncated(start + size)
        self.position = start + size
        return cut(self.text + start, size)

    cdef object big(self, int lead):
        """The number behind a lead byte of 80 or more."""
        if lead == 0x80:
            return int.from_bytes(self.take(4), "big")
        if lead == 0x81:
            return int.from_bytes(self.take(8), "big")
        raise InputError(f"a length begins with {lead:#04x}")

    cpdef number(self):
        """A number written like a length, up to 2**64 - 1."""
        cdef int lead = self.byte()
        if lead < 64:
            return lead
        if lead < 128:
            return ((lead & 63) << 8) | self.byte()
        return self.big(lead)

    cpdef long long count(self) except -1:
        """How many elements follow. Raises InputError when that is absurd."""
        cdef int lead = self.byte()
        cdef unsigned long long value
        if lead < 64:
            return lead
        if lead < 128:
            return ((lead & 63) << 8) | self.byte()
        value = self.big(lead)
        if value > COUNT_MAX:
            raise InputError(f"{value} elements are promised")
        return <long long>value

    cpdef Py_ssize_t size(self, int lead) except -1:
        """The size of a string whose first byte was `lead`."""
        cdef unsigned long long value
        if lead < 64:
            return lead
        if lead < 128:
            return ((lead & 63) << 8) | self.byte()
        value = self.big(lead)
        if value > STRING_BYTES_MAX:
            raise InputError(f"a string of {value} bytes is promised")
        return <Py_ssize_t>value

    cpdef bytes string(self):
        """A string; an integer comes as its digits."""
        cdef Py_ssize_t at = self.position
        cdef Py_ssize_t size = plain(self.text, &at, self.end)
        cdef int lead
        if size >= 0:
            self.position = at + size
            return cut(self.text + at, size)
        lead = self.byte()
        if lead < 0xC0:
            return self.take(self.size(lead))
        if lead == 0xC3:
            return self.compressed()
        return PyBytes_FromFormat("%ld", <long>self.small_integer(lead))

    cpdef string_value(self):
        """A string as the keyspace holds it: an integer comes as int."""
        cdef Py_ssize_t at = self.position
        cdef Py_ssize_t size = plain(self.text, &at, self.end)
        cdef int lead
        if size >= 0:
            self.position = at + size
            return cut(self.text + at, size)
        lead = self.byte()
        if lead < 0xC0:
            return self.take(self.size(lead))
        if lead == 0xC3:
            return self.compressed()
        return self.small_integer(lead)

    cdef long long small_integer(self, int lead) except? -1:
        cdef Py_ssize_t start = self.position
        cdef int size = 1 << (lead & 3)
        cdef int unused = 64 - 8 * size
        if lead > 0xC2:
            raise InputError(f"string encoding {lead:#04x} does not exist")
        if size > self.end - start:
            self.truncated(start + size)
        self.position = start + size
        return <long long>(little(self.text + start, size) << unused) >> unused

    cdef bytes compressed(self):
        cdef Py_ssize_t packed = self.size(self.byte())
        cdef Py_ssize_t size = self.size(self.byte())
        if size > packed * EXPANSION:
            raise InputError(f"{packed} bytes of LZF data cannot hold {size} bytes")
        return decompress(self.take(packed), size)

    cpdef list strings(self, long long count):
        """The next `count` strings in a new list."""
        cdef list elements = []
        cdef const unsigned char *text = self.text
        cdef Py_ssize_t at = self.position
        cdef Py_ssize_t size
        while count > 0:
            count -= 1
            size = plain(text, &at, self.end)
            if size < 0:
                self.position = at
                elements.append(self.string())
                at = self.position
                continue
            elements.append(cut(text + at, size))
            at += size
        self.position = at
        return elements

    cpdef tuple scored_strings(self, long long count):
        """The next `count` strings that each have a score in 8 bytes behind them; the scores."""
        cdef list members = []
        cdef list scores = []
        while count > 0:
            count -= 1
            members.append(self.string())
            scores.append(self.double())
        return members, scores

    cpdef double double(self) except? -1:
        cdef Py_ssize_t start = self.position
        if 8 > self.end - start:
            self.truncated(start + 8)
        self.position = start + 8
        return PyFloat_Unpack8(<const char *>self.text + start, 1)

    cpdef double old_double(self) except? -1:
        """A score as digits, with three lengths for what digits cannot say."""
        cdef int size = self.byte()
        if size >= 253:
            return (float("nan"), float("inf"), float("-inf"))[size - 253]
        return parse_double(self.take(size))

    cpdef long long signed_ms(self) except? -1:
        """Milliseconds in 8 bytes."""
        cdef Py_ssize_t start = self.position
        if 8 > self.end - start:
            self.truncated(start + 8)
        self.position = start + 8
        return <long long>little(self.text + start, 8)


cpdef double parse_double(bytes digits) except? -1:
    """A score in digits. Raises InputError."""
    try:
        return float(digits)
    except ValueError:
        raise InputError(f"{digits[:40]!r} is no score") from None
