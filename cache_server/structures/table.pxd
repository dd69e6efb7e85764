cimport cython

cdef unsigned long _reverse(unsigned long value)

cdef unsigned long _END
cdef Py_ssize_t _BUCKET_KEYS

@cython.final
cdef class Table:
    cdef public list buckets
    cdef public Py_ssize_t used
    cdef public Py_ssize_t mask
    cdef public int frozen

    @cython.locals(code=Py_hash_t, index=Py_ssize_t)
    cpdef Py_ssize_t bucket_index(self, bytes key) except -1
    @cython.locals(bucket=dict)
    cpdef get(self, bytes key)
    @cython.locals(bucket=dict, before=Py_ssize_t)
    cpdef bint set(self, bytes key, value) except *
    @cython.locals(bucket=dict)
    cpdef pop(self, bytes key)
    @cython.locals(bucket=dict)
    cpdef bint discard(self, bytes key) except *
    @cython.locals(code="unsigned long", index=Py_ssize_t, keys=list)
    cpdef tuple scan(self, unsigned long cursor, Py_ssize_t count)
    @cython.locals(longest=Py_ssize_t, size=Py_ssize_t, index=Py_ssize_t, bucket=dict, buckets=list)
    cpdef random_key(self, rng)
    cpdef list keys_list(self)
    @cython.locals(half=Py_ssize_t, level=cython.int)
    cdef int _depth(self, Py_ssize_t index)
    @cython.locals(new=Py_ssize_t, half=Py_ssize_t, low=dict, high=dict)
    cdef int _split(self) except -1
    @cython.locals(half=Py_ssize_t, count=Py_ssize_t, last=dict)
    cdef int _removed(self) except -1
