from cache_server.keyspace.database cimport Database, Keyspace

cimport cython

@cython.final
cdef class Client:
    cdef public object server
    cdef public Keyspace keyspace
    cdef public object config
    cdef public Database db
    cdef public long long id
    cdef public int flags
    cdef public object channel
    cdef public object connection
    cdef public object name
    cdef public object user
    cdef public object effects
    cdef public object queue
    cdef public object watching
    cdef public object blocked
    cdef public object subscriptions
    cdef public long long created_ms
    cdef public long long active_ms
    cdef public object last_command
    cdef public long long write_offset
    cdef public object peer
    cdef public object local
    cdef public object role
    cdef dict __dict__
    cdef object __weakref__
