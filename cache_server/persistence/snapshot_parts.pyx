# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The parts of a snapshot, compiled: what `snapshot_parts.py` says.

    out  [ ............ ][ room for the elements at most ]
                          ^ at: words are copied here, and what is left over is given back

Structures are read where their elements lie: blocks of fields, blocks of scores and members, the
dict of a small table. A bytearray that grows takes an eighth more than it needs, so many small
parts cost few copies.

Invariants: `measured` is never less than what is written; nothing runs between measuring and
writing that could change the value.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.string cimport memcpy

from cache_server.datatypes.hashes cimport Hash
from cache_server.datatypes.list_value cimport List
from cache_server.datatypes.sets cimport Set
from cache_server.datatypes.sorted_sets cimport SortedSet
from cache_server.persistence.lzf cimport Compressor
from cache_server.structures.fields cimport Fields
from cache_server.structures.sorted_blocks cimport SortedBlocks
from cache_server.structures.table cimport Table

cdef extern from "Python.h":
    int PyFloat_Pack8(double x, char *p, int le) except -1
    int PyDict_Next(PyObject *p, Py_ssize_t *position, PyObject **key, PyObject **value)
    PyObject *PyList_GET_ITEM(PyObject *words, Py_ssize_t index)
    Py_ssize_t PyList_GET_SIZE(PyObject *words)
    long long PyLong_AsLongLong(object value) except? -1

#: Up to this length compressing cannot pay (as in Redis).
DEF COMPRESS_OVER = 20
#: Most bytes before those of a string.
DEF HEAD_MAX = 9
DEF SCORE_BYTES = 8


cdef inline char *opened(bytearray out, Py_ssize_t room) except NULL:
    """Makes room behind the end; where that is."""
    cdef Py_ssize_t size = PyByteArray_GET_SIZE(out)
    PyByteArray_Resize(out, size + room)
    return PyByteArray_AS_STRING(out) + size


cdef inline int closed(bytearray out, char *end) except -1:
    """Gives back the room behind `end`."""
    PyByteArray_Resize(out, end - PyByteArray_AS_STRING(out))
    return 0


cdef inline char *put_big(char *at, unsigned long long value, int size) noexcept:
    while size:
        size -= 1
        at[0] = <char>(value >> (8 * size))
        at += 1
    return at


cdef inline char *put_little(char *at, unsigned long long value, int size) noexcept:
    while size:
        size -= 1
        at[0] = <char>value
        value >>= 8
        at += 1
    return at


cdef inline char *put_number(char *at, unsigned long long value) noexcept:
    if value < 64:
        at[0] = <char>value
        return at + 1
    if value < 16384:
        at[0] = <char>(64 | (value >> 8))
        at[1] = <char>value
        return at + 2
    if value >> 32 == 0:
        at[0] = <char>0x80
        return put_big(at + 1, value, 4)
    at[0] = <char>0x81
    return put_big(at + 1, value, 8)


cdef inline char *put_word(char *at, const char *data, Py_ssize_t size) noexcept:
    at = put_number(at, size)
    memcpy(at, data, size)
    return at + size


cdef inline char *put_bytes(char *at, PyObject *word) noexcept:
    return put_word(at, PyBytes_AS_STRING(<object>word), PyBytes_GET_SIZE(<object>word))


cpdef int append_number(bytearray out, unsigned long long value) except -1:
    """A length, or any number from 0 to 2**64 - 1."""
    return closed(out, put_number(opened(out, HEAD_MAX), value))


cpdef int append_ms(bytearray out, long long value) except -1:
    """Signed milliseconds, in 8 bytes."""
    put_little(opened(out, 8), <unsigned long long>value, 8)
    return 0


cpdef int append_score(bytearray out, double score) except -1:
    """The score of a member, in 8 bytes."""
    return PyFloat_Pack8(score, opened(out, SCORE_BYTES), 1)


cpdef int append_integer(bytearray out, value) except -1:
    """A string that is an integer of up to 64 bits."""
    cdef long long number = PyLong_AsLongLong(value)
    cdef int code
    if -128 <= number < 128:
        code = 0
    elif -32768 <= number < 32768:
        code = 1
    elif -2147483648LL <= number < 2147483648LL:
        code = 2
    else:
        return append_string(out, b"%d" % value, None)
    cdef char *at = opened(out, 1 + (1 << code))
    at[0] = <char>(0xC0 | code)
    put_little(at + 1, <unsigned long long>number, 1 << code)
    return 0


cpdef int append_string(bytearray out, bytes data, Compressor compressor) except -1:
    """A string, compressed where there is a compressor and it pays."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t shorter
    cdef bytes packed
    cdef char *at
    if compressor is not None and size > COMPRESS_OVER:
        packed = compressor.compress(data)
        if packed is not None:
            shorter = PyBytes_GET_SIZE(packed)
            at = opened(out, 1 + 2 * HEAD_MAX + shorter)
            at[0] = <char>0xC3
            at = put_number(put_number(at + 1, shorter), size)
            memcpy(at, PyBytes_AS_STRING(packed), shorter)
            return closed(out, at + shorter)
    return closed(out, put_word(opened(out, HEAD_MAX + size), PyBytes_AS_STRING(data), size))


cpdef int append_words(bytearray out, list words, Compressor compressor) except -1:
    """Strings, one after the other."""
    cdef Py_ssize_t index
    cdef Py_ssize_t room = measured(<PyObject *>words, longest_copied(compressor))
    cdef bytes word
    cdef char *at
    if room < 0:
        for word in words:
            append_string(out, word, compressor)
        return 0
    at = opened(out, room)
    for index in range(PyList_GET_SIZE(<PyObject *>words)):
        at = put_bytes(at, PyList_GET_ITEM(<PyObject *>words, index))
    return closed(out, at)


cpdef int append_members(
    bytearray out, list members, list scores, Compressor compressor
) except -1:
    """Members of a sorted set, each with its score."""
    cdef Py_ssize_t index
    for index in range(len(members)):
        append_string(out, members[index], compressor)
        append_score(out, scores[index])
    return 0


cpdef bint append_elements(bytearray out, value, Compressor compressor) except -1:
    """A list, set, hash or sorted set as a whole; False, and nothing, for any other value."""
    cdef Py_ssize_t longest = longest_copied(compressor)
    cdef Table table
    if type(value) is Hash:
        append_fields(out, <Fields>value, longest, compressor)
    elif type(value) is SortedSet:
        append_order(out, (<SortedSet>value).order, longest, compressor)
    elif type(value) is Set:
        table = (<Set>value).table
        if table.small is None:
            append_counted(out, table.used, table.keys_list(), compressor)
        else:
            append_keys(out, table.small, longest, compressor)
    elif type(value) is List:
        append_list(out, <List>value, compressor)
    else:
        return False
    return True


# -- the kinds of values -------------------------------------------------------------------------


cdef inline Py_ssize_t longest_copied(Compressor compressor) noexcept:
    """Longer strings are not copied as they are."""
    return <Py_ssize_t>((<size_t>-1) >> 1) if compressor is None else COMPRESS_OVER


cdef Py_ssize_t measured(PyObject *words, Py_ssize_t longest) noexcept:
    """Bytes that the words of a list take at most; -1 where one is too long."""
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t index, size
    for index in range(PyList_GET_SIZE(words)):
        size = PyBytes_GET_SIZE(<object>PyList_GET_ITEM(words, index))
        if size > longest:
            return -1
        total += HEAD_MAX + size
    return total


cdef int append_counted(
    bytearray out, Py_ssize_t count, list words, Compressor compressor
) except -1:
    """A number of elements, and the strings that they are made of."""
    append_number(out, count)
    return append_words(out, words, compressor)


cdef int append_list(bytearray out, List value, Compressor compressor) except -1:
    cdef list chunk
    append_number(out, value.size)
    if value.front is value.back:
        return append_words(out, value.front, compressor)
    for chunk in value.chunks():
        append_words(out, chunk, compressor)
    return 0


cdef int append_keys(
    bytearray out, dict small, Py_ssize_t longest, Compressor compressor
) except -1:
    """The keys of a dict."""
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t room = HEAD_MAX
    cdef Py_ssize_t size
    cdef PyObject *key
    cdef char *at
    while PyDict_Next(<PyObject *>small, &position, &key, NULL):
        size = PyBytes_GET_SIZE(<object>key)
        if size > longest:
            return append_counted(out, len(small), list(small), compressor)
        room += HEAD_MAX + size
    at = put_number(opened(out, room), len(small))
    position = 0
    while PyDict_Next(<PyObject *>small, &position, &key, NULL):
        at = put_bytes(at, key)
    return closed(out, at)


cdef int append_fields(
    bytearray out, Fields fields, Py_ssize_t longest, Compressor compressor
) except -1:
    """Pairs of a hash, out of its block where it has one."""
    cdef unsigned char *pair
    cdef unsigned char *end
    cdef char *at
    if fields.block == NULL:
        return append_counted(out, len(fields), fields.flat_items(), compressor)
    pair = <unsigned char *>(fields.block + 1)
    end = pair + fields.block.size
    if longest < 255:
        while pair != end:
            if pair[0] > longest or pair[1] > longest:
                return append_counted(
                    out, fields.block.count, fields.flat_items(), compressor)
            pair += 2 + pair[0] + pair[1]
        pair = <unsigned char *>(fields.block + 1)
    # Lengths of up to 255 take two bytes at most, and the block has one for each already.
    at = opened(out, HEAD_MAX + fields.block.size + 2 * fields.block.count)
    at = put_number(at, fields.block.count)
    while pair != end:
        at = put_word(at, <char *>pair + 2, pair[0])
        at = put_word(at, <char *>pair + 2 + pair[0], pair[1])
        pair += 2 + pair[0] + pair[1]
    return closed(out, at)


cdef int append_order(
    bytearray out, SortedBlocks order, Py_ssize_t longest, Compressor compressor
) except -1:
    """Members and scores of a sorted set."""
    cdef Py_ssize_t room = HEAD_MAX
    cdef Py_ssize_t index, place, size
    cdef char *at
    for index in range(order.count):
        for place in range(order.blocks[index].size):
            size = PyBytes_GET_SIZE(<object>order.blocks[index].members[place])
            if size > longest:
                return append_long_order(out, order, compressor)
            room += HEAD_MAX + size + SCORE_BYTES
    at = put_number(opened(out, room), order.used)
    for index in range(order.count):
        for place in range(order.blocks[index].size):
            at = put_bytes(at, order.blocks[index].members[place])
            PyFloat_Pack8(order.blocks[index].scores[place], at, 1)
            at += SCORE_BYTES
    return closed(out, at)


cdef int append_long_order(bytearray out, SortedBlocks order, Compressor compressor) except -1:
    """The same, member by member."""
    cdef Py_ssize_t index, place
    append_number(out, order.used)
    for index in range(order.count):
        for place in range(order.blocks[index].size):
            append_string(out, <bytes>order.blocks[index].members[place], compressor)
            append_score(out, order.blocks[index].scores[place])
    return 0
