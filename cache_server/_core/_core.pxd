# What other compiled modules may call as C functions.

cimport cython


@cython.final
cdef class Buffer:
    cdef char *data
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef Py_ssize_t capacity
    cdef Py_ssize_t capacity_min
    cdef Py_ssize_t capacity_kept

    cdef int reserve(self, Py_ssize_t extra) except -1
    cdef int append(self, const char *data, Py_ssize_t length) except -1
    cdef void drop(self, Py_ssize_t length) noexcept
    cdef void clear(self) noexcept
    cdef void free(self) noexcept


@cython.final
cdef class ReplyWriter:
    cdef Buffer buffer
    cdef public int protocol

    cpdef bytes take(self)
    cpdef write_raw(self, bytes data)
    cpdef write_error(self, bytes text)
    cpdef write_command(self, list args)
    cpdef write(self, value)
    cdef write_rare(self, object kind, value)
    cdef int write_double(self, double value) except -1
    cdef int head(self, char mark, long long count) except -1
    cdef int bulk(self, const char *data, Py_ssize_t length) except -1
    cdef write_list(self, char mark, list values, Py_ssize_t count)


@cython.final
cdef class Histogram:
    cdef long long buckets[30]

    cpdef add(self, long long spent_us)


cdef class Executor:
    cpdef begin_requests(self, client)
    cpdef execute(self, client, list args)


@cython.final
cdef class Stopwatch:
    cpdef long long monotonic_ns(self)
    cpdef long long unix_ms(self)
