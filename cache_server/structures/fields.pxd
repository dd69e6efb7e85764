from cpython.object cimport PyObject

cdef struct Block:
    unsigned short size
    unsigned short count

cdef class Fields:
    cdef PyObject *table
    cdef Block *block

    cdef unsigned char *find(self, bytes field) noexcept
    cdef int resize(self, Py_ssize_t size) except -1
    cdef int unpack(self) except -1
    cdef int append(self, bytes field, bytes value, Py_ssize_t size) except -1
    cdef void write_pair(self, bytes field, bytes value) noexcept
    cdef int replace(self, unsigned char *pair, bytes value, Py_ssize_t size) except -1
    cdef bint remove(self, unsigned char *pair) except *
    cpdef get(self, bytes field)
    cpdef bint set(self, bytes field, bytes value) except *
    cpdef bint discard(self, bytes field) except *
    cpdef list flat_items(self)
    cpdef bytes encoded(self, bint as_map)
    cpdef bint take_words(self, list words) except *
    cpdef Py_ssize_t longest_word(self) except -1
    cpdef list keys_list(self)
    cpdef list values_list(self)
    cpdef tuple scan(self, unsigned long cursor, Py_ssize_t count)
    cpdef random_key(self, rng)
