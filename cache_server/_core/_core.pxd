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
cdef class RequestReader:
    cdef Buffer buffer
    cdef list args
    cdef list spare
    cdef Py_ssize_t filled          # arguments of `args` that are there
    cdef Py_ssize_t wanted          # arguments still to come
    cdef long long bulk             # length of the argument being read, -1 before its length line
    cdef Py_ssize_t args_bytes
    cdef bytes last_name            # the previous command's name: pipelines repeat it
    cdef public long long bulk_length_max
    cdef public bint authenticated

    cpdef feed(self, bytes data)
    cdef list take(self)
    cdef list take_whole(self)
    cdef list read_start(self)
    cdef list read_inline(self)
    cdef list wait_for_line(self, text)
    cdef bint read_arguments(self) except -1
    cdef int reserve_ahead(self, Py_ssize_t missing) except -1
    cdef inline bytes argument(self, const char *text, Py_ssize_t length)
    cdef inline bytes name_of(self, const char *text, Py_ssize_t length)
    cdef bint read_bulk_length(self) except -1
    cdef bint refuse_bulk_length(self, Py_ssize_t taken) except -1


@cython.final
cdef class ReplyWriter:
    cdef Buffer buffer
    cdef public int protocol

    cpdef bytes take(self)
    cpdef trim(self)
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
cdef class Channel:
    cdef readonly RequestReader reader
    cdef readonly ReplyWriter writer
    cdef public object client
    cdef public object gate
    cdef public int stop
    cdef public int fd
    cdef public bint queued
    cdef public bint flush_due
    cdef public long long received_bytes
    cdef public long long sent_bytes
    cdef public long long query_bytes_max
    cdef public long long output_bytes_max
    cdef Executor executor
    cdef object shell

    cpdef data_received(self, bytes data)
    cpdef run(self)
    cdef long long turn(self, long long ends_ns) except -1
    cpdef add(self, bytes data)
    cpdef output_added(self)
    cpdef release(self)
    cpdef flush(self)


@cython.final
cdef class Stopwatch:
    cpdef long long monotonic_ns(self)
    cpdef long long unix_ms(self)
