cimport cython
from cache_server.client cimport Client
from cache_server.datatypes.stream_groups cimport Consumer, Group, Pending
from cache_server.datatypes.streams cimport Stream
from cache_server.keyspace.database cimport Database

cdef int _NONE, _STREAMS, _COUNT, _GROUP, _BLOCK, _NOACK
cdef dict _OPTIONS

@cython.final
@cython.freelist(8)
cdef class _Reading:
    cdef public long long count
    cdef public long long timeout_ms
    cdef public object group
    cdef public bytes consumer
    cdef public bint acknowledged
    cdef public Py_ssize_t first
    cdef public Py_ssize_t streams

@cython.locals(reading=_Reading, first=Py_ssize_t, streams=Py_ssize_t, index=Py_ssize_t, group=Group,
               stream=Stream)
cpdef xreadgroup_command(Client ctx, list args)
@cython.locals(stream=Stream)
cdef _group_id(Client ctx, list args, _Reading reading, Py_ssize_t index)
@cython.locals(consumer=Consumer)
cpdef tuple consumer_of(Client ctx, bytes key, Group group, bytes name)
@cython.locals(consumer=Consumer, pending=Pending)
cdef list _history(Client ctx, bytes key, Stream stream, Group group, _Reading reading, after)
@cython.locals(pending=Pending, consumer=Consumer, found=list, now_ms="long long", telling=bint, made=bint, reply=list)
cdef list _deliver(Client ctx, bytes key, Stream stream, Group group, _Reading reading)
cdef _paired(Client ctx, list flat)
cdef bint _has_after(Client ctx, Stream stream, entry_id) except *
