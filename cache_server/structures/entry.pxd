cimport cython


@cython.final
cdef class Entry:
    cdef public object value
    cdef public long long expire_ms
    cdef public long long access
    cdef unsigned int key_size
    cdef unsigned int code

cpdef Entry make_entry(bytes key, value, long long access)
