"""Entry, compiled: what `entry.py` says."""

cimport cython


@cython.final
@cython.no_gc
@cython.freelist(512)
cdef class Entry:
    def __init__(self, value, long long access):
        self.value = value
        self.expire_ms = 0
        self.access = access
