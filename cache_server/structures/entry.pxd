cimport cython


@cython.final
cdef class Entry:
    cdef public object value
    cdef public long long expire_ms
    cdef public long long access
