# cython: language_level=3, boundscheck=False, wraparound=False
"""Bits of long texts: counting ones, finding, combining. `bits.py` is the specification.

Words of 64 bits are read where they stand, aligned or not, as the processors we run on allow.
Where the processor counts the ones of a word in one instruction, that is used.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    static inline uint64_t bits_word(const unsigned char *p) {
        uint64_t word;
        memcpy(&word, p, 8);
        return word;
    }

    #define BITS_COUNT_BODY(ONES) \\
        Py_ssize_t total = 0; \\
        for (; size >= 8; p += 8, size -= 8) total += ONES(bits_word(p)); \\
        for (; size > 0; p++, size--) total += ONES((uint64_t)*p); \\
        return total;

    static inline int bits_ones_plain(uint64_t word) {
        word -= (word >> 1) & 0x5555555555555555ULL;
        word = (word & 0x3333333333333333ULL) + ((word >> 2) & 0x3333333333333333ULL);
        word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
        return (int)((word * 0x0101010101010101ULL) >> 56);
    }

    static Py_ssize_t bits_count_plain(const unsigned char *p, Py_ssize_t size) {
        BITS_COUNT_BODY(bits_ones_plain)
    }

    #if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    __attribute__((target("popcnt")))
    static Py_ssize_t bits_count_quick(const unsigned char *p, Py_ssize_t size) {
        BITS_COUNT_BODY(__builtin_popcountll)
    }
    static Py_ssize_t bits_count(const unsigned char *p, Py_ssize_t size) {
        return __builtin_cpu_supports("popcnt") ? bits_count_quick(p, size)
                                                : bits_count_plain(p, size);
    }
    #else
    #define bits_count bits_count_plain
    #endif

    #define BITS_COMBINE_LOOP(OP) \\
        for (; i + 8 <= size; i += 8) { \\
            uint64_t word = bits_word(out + i) OP bits_word(in + i); \\
            memcpy(out + i, &word, 8); \\
        } \\
        for (; i < size; i++) out[i] = out[i] OP in[i];

    static void bits_combine(int operation, unsigned char *out, const unsigned char *in,
                             Py_ssize_t size) {
        Py_ssize_t i = 0;
        if (operation == 0) { BITS_COMBINE_LOOP(&) }
        else if (operation == 1) { BITS_COMBINE_LOOP(|) }
        else { BITS_COMBINE_LOOP(^) }
    }
    """
    uint64_t bits_word(const unsigned char *p) nogil
    Py_ssize_t bits_count(const unsigned char *p, Py_ssize_t size) nogil
    void bits_combine(int operation, unsigned char *out, const unsigned char *text,
                      Py_ssize_t size) nogil

AND = 0
OR = 1
XOR = 2


cdef const unsigned char *_bytes_of(text) except NULL:
    if type(text) is bytes:
        return <const unsigned char *>PyBytes_AS_STRING(text)
    if type(text) is bytearray:
        return <const unsigned char *>PyByteArray_AS_STRING(text)
    raise TypeError("bytes or bytearray")


def count_ones(data, Py_ssize_t start, Py_ssize_t stop):
    """How many bits of data[start:stop] are set; 0 <= start <= stop <= len(data)."""
    assert 0 <= start <= stop <= len(data)
    return bits_count(_bytes_of(data) + start, stop - start)


def find_other(data, bint full, Py_ssize_t start, Py_ssize_t stop):
    """Where in data[start:stop] the first byte is that is not 0, or with `full` not 255; or -1."""
    assert 0 <= start <= stop <= len(data)
    cdef const unsigned char *p = _bytes_of(data)
    cdef unsigned char byte = 255 if full else 0
    cdef uint64_t word = ~(<uint64_t>0) if full else 0
    while start + 8 <= stop and bits_word(p + start) == word:
        start += 8
    while start < stop:
        if p[start] != byte:
            return start
        start += 1
    return -1


def combine(int operation, list texts, Py_ssize_t size):
    """AND, OR or XOR of texts of at most `size` bytes, each as if it went on with zeros."""
    first = texts[0]
    cdef Py_ssize_t index, length = len(first)
    assert length <= size
    result = PyByteArray_FromStringAndSize(NULL, size)
    cdef unsigned char *out = <unsigned char *>PyByteArray_AS_STRING(result)
    memcpy(out, _bytes_of(first), length)
    memset(out + length, 0, size - length)
    for index in range(1, len(texts)):
        text = texts[index]
        length = len(text)
        assert length <= size
        bits_combine(operation, out, _bytes_of(text), length)
        if operation == 0:
            memset(out + length, 0, size - length)
    return result


def invert(data):
    """Every bit the other way."""
    cdef Py_ssize_t index, size = len(data)
    cdef const unsigned char *text = _bytes_of(data)
    result = PyByteArray_FromStringAndSize(NULL, size)
    cdef unsigned char *out = <unsigned char *>PyByteArray_AS_STRING(result)
    for index in range(size):
        out[index] = ~text[index]
    return result


def load_field(data, long long offset, int width):
    """The unsigned number of `width` bits, 1 to 64, from bit `offset`; zeros follow the data."""
    assert offset >= 0 and 1 <= width <= 64
    cdef const unsigned char *p = _bytes_of(data)
    cdef long long size = len(data)
    cdef long long index, first = offset >> 3, last = (offset + width + 7) >> 3
    cdef int unused = <int>(last * 8 - offset - width)
    cdef uint64_t number = 0
    # At most nine bytes: of the last one only the bits that belong to the field are taken in.
    for index in range(first, last - 1):
        number = number << 8 | (p[index] if index < size else 0)
    number = number << (8 - unused) | ((p[last - 1] if last <= size else 0) >> unused)
    return number if width == 64 else number & ((<uint64_t>1 << width) - 1)


def store_field(bytearray data, long long offset, int width, uint64_t number):
    """Puts an unsigned number of `width` bits where `load_field` finds it; within the data."""
    cdef long long index = ((offset + width + 7) >> 3) - 1
    assert offset >= 0 and 1 <= width <= 64 and index < len(data)
    cdef unsigned char *p = <unsigned char *>PyByteArray_AS_STRING(data)
    cdef int skip = <int>((index + 1) * 8 - offset - width)
    cdef int bits
    cdef unsigned char mask
    while width > 0:
        bits = min(8 - skip, width)
        mask = ((1 << bits) - 1) << skip
        p[index] = (p[index] & ~mask) | ((number << skip) & mask)
        number >>= bits
        width -= bits
        skip = 0
        index -= 1
