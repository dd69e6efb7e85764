# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fields, compiled: what `fields.py` says.

    block   size u16, count u16, then for each pair:
            length of the field u8, length of the value u8, field, value

The table is held by a bare pointer: an object without attributes that Python knows of gets no header
for the garbage collector.

Invariants: `table` or `block` is NULL; `size` is the bytes of all pairs, without its own four.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdio cimport sprintf
from libc.string cimport memcmp, memcpy, memmove

from cache_server.constants import FIELDS_BLOCK_BYTES_MAX, FIELDS_BLOCK_PAIRS_MAX
from cache_server.structures.table cimport Table

cdef extern from "Python.h":
    void *PyObject_Realloc(void *, size_t)
    void PyObject_Free(void *)

cdef Py_ssize_t BYTES_MAX = FIELDS_BLOCK_BYTES_MAX
cdef Py_ssize_t PAIRS_MAX = FIELDS_BLOCK_PAIRS_MAX


cdef inline unsigned char *first_of(Block *block) noexcept:
    return <unsigned char *>block + sizeof(Block)


cdef inline unsigned char *end_of(Block *block) noexcept:
    return first_of(block) + block.size


cdef inline Py_ssize_t size_of(unsigned char *pair) noexcept:
    return <Py_ssize_t>2 + pair[0] + pair[1]


cdef inline bytes field_of(unsigned char *pair):
    return PyBytes_FromStringAndSize(<char *>pair + 2, pair[0])


cdef inline bytes value_of(unsigned char *pair):
    return PyBytes_FromStringAndSize(<char *>pair + 2 + pair[0], pair[1])


cdef inline char *bulk(char *out, unsigned char *text, unsigned char size) noexcept:
    """Writes a bulk string; where it ends."""
    out[0] = 36
    out += 1
    if size > 99:
        out[0] = 48 + size // 100
        out += 1
    if size > 9:
        out[0] = 48 + size // 10 % 10
        out += 1
    out[0] = 48 + size % 10
    memcpy(out + 1, b"\r\n", 2)
    memcpy(out + 3, text, size)
    memcpy(out + 3 + size, b"\r\n", 2)
    return out + 5 + size


cdef class Fields:
    """A mapping of bytes to bytes. Not for iteration while it is changed, except by `scan`."""

    def __dealloc__(self):
        PyObject_Free(self.block)
        Py_XDECREF(self.table)

    @property
    def unpacked(self):
        """The table that holds the fields; None while they lie in one block."""
        return None if self.table == NULL else <object>self.table

    def __len__(self):
        if self.table != NULL:
            return (<Table>self.table).used
        return 0 if self.block == NULL else self.block.count

    def __contains__(self, bytes field):
        if self.table != NULL:
            return field in <Table>self.table
        return self.find(field) != NULL

    def __iter__(self):
        return iter(<object>self.table if self.table != NULL else self.keys_list())

    def __sizeof__(self):
        cdef Py_ssize_t size = type(self).__basicsize__
        return size if self.block == NULL else size + sizeof(Block) + self.block.size

    def items(self):
        """The pairs of field and value."""
        if self.table != NULL:
            return (<Table>self.table).items()
        return iter(list(zip(self.keys_list(), self.values_list())))

    cdef unsigned char *find(self, bytes field) noexcept:
        """The field's pair in the block, or NULL."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(field)
        cdef char *text = PyBytes_AS_STRING(field)
        cdef unsigned char *pair
        cdef unsigned char *end
        if self.block == NULL:
            return NULL
        pair = first_of(self.block)
        end = end_of(self.block)
        while pair != end:
            if pair[0] == size and memcmp(pair + 2, text, size) == 0:
                return pair
            pair += size_of(pair)
        return NULL

    cdef int resize(self, Py_ssize_t size) except -1:
        """Makes the block one of `size` bytes of pairs; what it holds stays."""
        cdef bint new = self.block == NULL
        cdef Block *block = <Block *>PyObject_Realloc(self.block, sizeof(Block) + size)
        if block == NULL:
            raise MemoryError()
        self.block = block
        if new:
            block.count = 0
        block.size = <unsigned short>size
        return 0

    cdef int unpack(self) except -1:
        """The block becomes a table."""
        cdef Table table = Table()
        cdef unsigned char *pair
        cdef unsigned char *end
        if self.block != NULL:
            pair = first_of(self.block)
            end = end_of(self.block)
            while pair != end:
                table.set(field_of(pair), value_of(pair))
                pair += size_of(pair)
            PyObject_Free(self.block)
            self.block = NULL
        Py_INCREF(table)
        self.table = <PyObject *>table
        return 0

    cpdef get(self, bytes field):
        """The value of `field`, or None."""
        cdef unsigned char *pair
        if self.table != NULL:
            return (<Table>self.table).get(field)
        pair = self.find(field)
        return None if pair == NULL else value_of(pair)

    cpdef bint set(self, bytes field, bytes value) except *:
        """Puts the value; True when the field is new."""
        cdef Py_ssize_t field_size, value_size, size
        cdef unsigned char *pair
        cdef bint new
        if self.table != NULL:
            return (<Table>self.table).set(field, value)
        field_size = PyBytes_GET_SIZE(field)
        value_size = PyBytes_GET_SIZE(value)
        pair = self.find(field)
        new = pair == NULL
        size = 0 if self.block == NULL else self.block.size
        size += 2 + field_size + value_size if new else value_size - pair[1]
        if (field_size > 255 or value_size > 255 or size > BYTES_MAX
                or (new and self.block != NULL and self.block.count == PAIRS_MAX)):
            self.unpack()
            return (<Table>self.table).set(field, value)
        if new:
            self.append(field, value, size)
        else:
            self.replace(pair, value, size)
        return new

    cdef int append(self, bytes field, bytes value, Py_ssize_t size) except -1:
        """Adds a pair to a block that is `size` bytes with it."""
        cdef Py_ssize_t before = 0 if self.block == NULL else self.block.size
        self.resize(size)
        self.block.size = <unsigned short>before
        self.write_pair(field, value)
        return 0

    cdef int replace(self, unsigned char *pair, bytes value, Py_ssize_t size) except -1:
        """Gives a pair another value; the block is `size` bytes with it."""
        cdef Py_ssize_t at = pair - first_of(self.block)
        cdef Py_ssize_t before = self.block.size
        cdef Py_ssize_t after_at = at + size_of(pair)
        if size > before:
            self.resize(size)
            pair = first_of(self.block) + at
        if size != before:
            memmove(first_of(self.block) + after_at + size - before,
                    first_of(self.block) + after_at, before - after_at)
        pair[1] = <unsigned char>PyBytes_GET_SIZE(value)
        memcpy(pair + 2 + pair[0], PyBytes_AS_STRING(value), pair[1])
        if size < before:
            self.resize(size)
        return 0

    cdef bint remove(self, unsigned char *pair) except *:
        """Takes a pair out of the block; False where there is none."""
        cdef Py_ssize_t size
        if pair == NULL:
            return False
        size = size_of(pair)
        memmove(pair, pair + size, end_of(self.block) - pair - size)
        self.block.count -= 1
        self.resize(self.block.size - size)
        return True

    cpdef bint discard(self, bytes field) except *:
        """Takes the field out; False where it was not there."""
        if self.table != NULL:
            return (<Table>self.table).discard(field)
        return self.remove(self.find(field))

    cpdef list flat_items(self):
        """Every field and its value, one after the other, in a new list."""
        cdef list result = []
        cdef unsigned char *pair
        cdef unsigned char *end
        if self.table != NULL:
            return (<Table>self.table).flat_items()
        if self.block != NULL:
            pair = first_of(self.block)
            end = end_of(self.block)
            while pair != end:
                result.append(field_of(pair))
                result.append(value_of(pair))
                pair += size_of(pair)
        return result

    cpdef bytes encoded(self, bint as_map):
        """What HGETALL answers, in RESP: as a map or as an array. None where there is no block."""
        cdef unsigned char *pair
        cdef unsigned char *end
        cdef char *out
        cdef bytes result
        if self.block == NULL:
            return None
        # A word of up to 255 bytes takes at most "$255\\r\\n" and "\\r\\n" more.
        result = PyBytes_FromStringAndSize(NULL, 16 + self.block.size + 16 * self.block.count)
        out = PyBytes_AS_STRING(result)
        out += sprintf(out, b"%%%d\r\n" if as_map else b"*%d\r\n",
                       self.block.count if as_map else 2 * self.block.count)
        pair = first_of(self.block)
        end = end_of(self.block)
        while pair != end:
            out = bulk(bulk(out, pair + 2, pair[0]), pair + 2 + pair[0], pair[1])
            pair += size_of(pair)
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(result), out - PyBytes_AS_STRING(result))

    cpdef bint take_words(self, list words) except *:
        """Fills empty fields with fields and values in turn; False where a field comes twice."""
        cdef Py_ssize_t count = len(words) // 2
        cdef Py_ssize_t size = 2 * count
        cdef Py_ssize_t i
        cdef bint fits = 0 < count <= PAIRS_MAX
        cdef bint new = True
        for i in range(2 * count):
            fits = fits and PyBytes_GET_SIZE(<bytes?>words[i]) <= 255
            size += PyBytes_GET_SIZE(<bytes?>words[i])
        if not fits or size > BYTES_MAX:
            for i in range(count):
                new = self.set(words[2 * i], words[2 * i + 1]) and new
            return new
        self.resize(size)
        self.block.size = 0  # and grows with the pairs, for `find` looks at those that are there
        for i in range(count):
            new = new and self.find(words[2 * i]) == NULL
            self.write_pair(words[2 * i], words[2 * i + 1])
        return new

    cdef void write_pair(self, bytes field, bytes value) noexcept:
        """Writes a pair behind the others, in a block that has room for it."""
        cdef unsigned char *pair = end_of(self.block)
        pair[0] = <unsigned char>PyBytes_GET_SIZE(field)
        pair[1] = <unsigned char>PyBytes_GET_SIZE(value)
        memcpy(pair + 2, PyBytes_AS_STRING(field), pair[0])
        memcpy(pair + 2 + pair[0], PyBytes_AS_STRING(value), pair[1])
        self.block.size += <unsigned short>size_of(pair)
        self.block.count += 1

    cpdef Py_ssize_t longest_word(self) except -1:
        """The length of the longest field or value in bytes; 0 when empty."""
        cdef Py_ssize_t longest = 0
        cdef unsigned char *pair
        cdef unsigned char *end
        cdef bytes word
        if self.table != NULL:
            for word in (<Table>self.table).flat_items():
                longest = max(longest, PyBytes_GET_SIZE(word))
        elif self.block != NULL:
            pair = first_of(self.block)
            end = end_of(self.block)
            while pair != end:
                longest = max(longest, max(pair[0], pair[1]))
                pair += size_of(pair)
        return longest

    cpdef list keys_list(self):
        """All fields in a new list."""
        return (<Table>self.table).keys_list() if self.table != NULL else self.flat_items()[::2]

    cpdef list values_list(self):
        """All values in a new list."""
        return self.flat_items()[1::2]

    cpdef tuple scan(self, unsigned long cursor, Py_ssize_t count):
        """As `Table.scan`; a block is returned whole."""
        if self.table != NULL:
            return (<Table>self.table).scan(cursor, count)
        return 0, self.keys_list()

    cpdef random_key(self, rng):
        """A field, each with the same probability; None when empty."""
        cdef Py_ssize_t wanted
        cdef unsigned char *pair
        if self.table != NULL:
            return (<Table>self.table).random_key(rng)
        if self.block == NULL or self.block.count == 0:
            return None
        wanted = <Py_ssize_t>(<double>rng.random() * self.block.count)
        pair = first_of(self.block)
        while wanted:
            pair += size_of(pair)
            wanted -= 1
        return field_of(pair)
