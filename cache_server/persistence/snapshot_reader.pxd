cimport cython

@cython.final
cdef class Reader:
    cdef readonly bytes data
    cdef public Py_ssize_t position
    cdef readonly Py_ssize_t end
    cdef public Py_ssize_t wanted
    cdef const unsigned char *text

    cdef int truncated(self, Py_ssize_t wanted) except -1
    cpdef int byte(self) except -1
    cpdef bytes take(self, Py_ssize_t size)
    cdef object big(self, int lead)
    cpdef number(self)
    cpdef long long count(self) except -1
    cpdef Py_ssize_t size(self, int lead) except -1
    cpdef bytes string(self)
    cpdef string_value(self)
    cdef long long small_integer(self, int lead) except? -1
    cdef bytes compressed(self)
    cpdef list strings(self, long long count)
    cpdef tuple scored_strings(self, long long count)
    cpdef double double(self) except? -1
    cpdef double old_double(self) except? -1
    cpdef long long signed_ms(self) except? -1

cpdef double parse_double(bytes digits) except? -1
