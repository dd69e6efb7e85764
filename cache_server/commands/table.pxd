cimport cython
cimport cache_server._core._core as compiled_core

@cython.final
cdef class Command:
    cdef public object name
    cdef public object container
    cdef public int arity
    cdef public list flag_names
    cdef public int flags
    cdef public object handler
    cdef public object find_keys
    cdef public int first_key
    cdef public int last_key
    cdef public int key_step
    cdef public object group
    cdef public object since
    cdef public object summary
    cdef public object complexity
    cdef public list categories
    cdef public dict subcommands
    cdef public long long calls
    cdef public long long microseconds
    cdef public long long rejected
    cdef public long long failed
    cdef public compiled_core.Histogram latency
    cpdef bint accepts(self, Py_ssize_t count)
