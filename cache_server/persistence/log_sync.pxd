cimport cython
cimport cache_server._core._core as compiled_core
from cache_server.client cimport Client

cdef int _UNDURABLE, _CLOSED, _CLOSE_AFTER_REPLY

cdef class Syncs:
    cdef public object _owner
    cdef public bint always
    cdef public bint running
    cdef public bint broken
    cdef public long long delayed
    cdef public long long durable
    cdef public list _waiting
    cdef public list unsent
    cdef public double _synced_at
    cdef public long long _synced_position
    cdef public object _thread
    cdef public long long _syncing_position
    cdef public list _syncing
    cdef object _gate
    cdef object _gate_written

    cpdef gate(self, compiled_core.Channel channel)
    cpdef gate_written(self, compiled_core.Channel channel)
    @cython.locals(channel=compiled_core.Channel, client=Client)
    cpdef send(self)
    cpdef _pass(self, compiled_core.Channel channel)
    cpdef list _take_waiting(self)
    @cython.locals(channel=compiled_core.Channel, client=Client, unread=bint)
    cpdef _release(self, list waiting)
