cimport cython
from cache_server.structures.entry cimport Entry, make_entry
from cache_server.structures.table cimport Table

@cython.final
cdef class Keyspace:
    cdef public object rng
    cdef public long long now_ms
    cdef public long long dirty
    cdef public long long hits
    cdef public long long misses
    cdef public long long expired_keys
    cdef public int notify_flags
    cdef public int expire_mode
    cdef public set own_expiries
    cdef public bint lfu
    cdef public object on_lfu_access
    cdef public object on_expired
    cdef public object on_notify
    cdef public object on_watched
    cdef public object on_ready
    cdef public list databases

@cython.final
cdef class Database:
    cdef public Keyspace keyspace
    cdef public int index
    cdef public Table table
    cdef public Table volatile
    cdef public dict watched
    cdef public dict blocked
    cdef public dict relied_on
    cdef public object before_write
    cdef public object expire_cursor
    cdef public object avg_ttl_ms
    cdef object __weakref__

    @cython.locals(entry=Entry)
    cpdef Entry find(self, bytes key)
    @cython.locals(entry=Entry)
    cpdef peek(self, bytes key)
    @cython.locals(entry=Entry, keyspace=Keyspace)
    cpdef read(self, bytes key)
    @cython.locals(entry=Entry, keyspace=Keyspace)
    cpdef write(self, bytes key)
    cpdef read_as(self, bytes key, kind)
    cpdef write_as(self, bytes key, kind)
    cpdef read_string(self, bytes key)
    cpdef write_string(self, bytes key)
    @cython.locals(entry=Entry, keyspace=Keyspace)
    cpdef put(self, bytes key, value, bint keep_ttl=*)
    @cython.locals(keyspace=Keyspace)
    cdef _add(self, bytes key, value)
    @cython.locals(entry=Entry)
    cpdef bint delete(self, bytes key) except *
    @cython.locals(entry=Entry)
    cpdef set_expiry(self, bytes key, long long expire_ms)
    @cython.locals(keyspace=Keyspace)
    cpdef changed(self, bytes key, int kind, event, long long count=*)
    cpdef touched(self, bytes key)
    cpdef notify(self, int kind, event, bytes key)
    cpdef ready(self, bytes key)
    cpdef Py_ssize_t clear(self) except -1
    cdef bint _expire(self, bytes key) except *
    cpdef expire_now(self, bytes key)

cpdef bytes string_bytes(value)
