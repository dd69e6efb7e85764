cimport cython

@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Pending:
    cdef public bytes consumer
    cdef public long long delivered_ms
    cdef public long long deliveries

@cython.final
cdef class PendingList:
    cdef public dict entries
    cdef public list order

    @cython.locals(order=list, place=Py_ssize_t)
    cpdef add(self, entry_id, Pending pending)
    @cython.locals(entries=dict)
    cpdef remove(self, entry_id)

@cython.final
cdef class Consumer:
    cdef public long long seen_ms
    cdef public PendingList pending

@cython.final
cdef class Group:
    cdef public object last_id
    cdef public long long entries_read
    cdef public PendingList pending
    cdef public dict consumers

    @cython.locals(pending=Pending, consumer=Consumer, owner=Consumer)
    cpdef Pending assign(self, entry_id, bytes name, long long delivered_ms)
    @cython.locals(pending=Pending, consumer=Consumer)
    cpdef bint acknowledge(self, entry_id) except *
    @cython.locals(consumer=Consumer)
    cpdef Py_ssize_t drop_consumer(self, bytes name) except -1
