# Ids of stream entries; stream_ids.py is the specification and the twin.

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef extern from *:
    """
    #include <string.h>
    #if PY_VERSION_HEX >= 0x030D0000
    #define id_to_bytes(id, data) _PyLong_AsByteArray((PyLongObject *)(id), data, 16, 1, 0, 1)
    #else
    #define id_to_bytes(id, data) _PyLong_AsByteArray((PyLongObject *)(id), data, 16, 1, 0)
    #endif
    #define id_from_bytes(data) _PyLong_FromByteArray(data, 16, 1, 0)

    static unsigned long long read_part(const unsigned char *data) {
        unsigned long long value = 0;
        for (int i = 7; i >= 0; i--) value = value << 8 | data[i];
        return value;
    }

    static void write_part(unsigned char *data, unsigned long long value) {
        for (int i = 0; i < 8; i++, value >>= 8) data[i] = (unsigned char)value;
    }
    """
    int id_to_bytes(object entry_id, unsigned char *data) except -1
    object id_from_bytes(const unsigned char *data)
    unsigned long long read_part(const unsigned char *data) noexcept
    void write_part(unsigned char *data, unsigned long long value) noexcept


cdef char *_digits(char *end, unsigned long long value) noexcept:
    """Writes the decimal digits before `end`; returns where they begin."""
    while True:
        end -= 1
        end[0] = c'0' + <char>(value % 10)
        value //= 10
        if value == 0:
            return end


cdef bytes _written(unsigned long long ms, unsigned long long sequence):
    cdef char text[48]
    cdef char *end = text + 48
    cdef char *start = _digits(end, sequence)
    start -= 1
    start[0] = c'-'
    start = _digits(start, ms)
    return PyBytes_FromStringAndSize(start, end - start)


def format_id(entry_id not None):
    """ms-sequence"""
    cdef unsigned char data[16]
    if type(entry_id) is not int:
        raise TypeError("an id is an integer")
    id_to_bytes(entry_id, data)
    return _written(read_part(data + 8), read_part(data))


def next_id(last_id not None, long long now_ms):
    """The id that `*` stands for, and how it is written."""
    cdef unsigned char data[16]
    cdef unsigned long long ms, sequence
    if type(last_id) is not int:
        raise TypeError("an id is an integer")
    id_to_bytes(last_id, data)
    ms, sequence = read_part(data + 8), read_part(data)
    if <unsigned long long>now_ms > ms:
        ms, sequence = <unsigned long long>now_ms, 0
    else:
        sequence += 1
        if sequence == 0:
            ms += 1
    write_part(data, sequence)
    write_part(data + 8, ms)
    return id_from_bytes(data), _written(ms, sequence)
