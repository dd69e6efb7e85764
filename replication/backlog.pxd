cimport cython

cdef long long _held_bytes(bytes sealed)

cdef class Backlog:
    cdef public list _checksums
    cdef public list _sealed
    cdef public list _starts
    cdef public long long _end
    cdef public Py_ssize_t _first
    cdef public long long _sealed_bytes
    cdef public object _start_checksum
    cdef public bint active
    cdef public long long base
    cdef public object checksum
    cdef public object on_reset
    cdef public object on_sealed
    cdef public object pinned_position
    cdef public long long size_bytes

    cpdef append(self, bytes data, now_ms, epoch)
    @cython.locals(start=cython.longlong, sealed=bytes)
    cdef _append(self, bytes body, now_ms, epoch)
    @cython.locals(keep_from=cython.longlong, first=Py_ssize_t, last=Py_ssize_t, dropped=Py_ssize_t)
    cpdef trim(self)
    @cython.locals(at=Py_ssize_t, skip=cython.longlong, stop=Py_ssize_t)
    cpdef read_frames(self, long long position, long long bytes_max)
    @cython.locals(at=Py_ssize_t, skip=cython.longlong, stop=Py_ssize_t)
    cpdef read(self, long long position, long long bytes_max)
    cpdef Py_ssize_t _index(self, long long position) except -1
    cdef Py_ssize_t _stop_index(self, Py_ssize_t at, long long position, long long bytes_max) except -1
    cdef long long _start_of(self, Py_ssize_t at) except -1
