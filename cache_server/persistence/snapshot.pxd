cimport cython
from cache_server.keyspace.database cimport Database, Keyspace
from cache_server.persistence.snapshot_codec cimport Encoder
from cache_server.structures.table cimport Table

cdef class BeforeWrite:
    cdef public tuple snapshots

cdef class _Walk:
    cdef public int index
    cdef public Table table
    cdef public Py_ssize_t keys
    cdef public Py_ssize_t volatile
    cdef public Py_ssize_t first
    cdef public Py_ssize_t position
    cdef public bytearray written
    cdef public bint announced

cdef class Snapshot:
    cdef public Keyspace keyspace
    cdef public bint checksum
    cdef public Py_ssize_t keys_total
    cdef public Py_ssize_t keys_done
    cdef public long long early_bytes
    cdef public bint ended
    cdef bint _commands
    cdef Encoder _encoder
    cdef Encoder _aside
    cdef int _selected
    cdef int _aside_selected
    cdef object _crc
    cdef _Walk _walk
    cdef list _items
    cdef Py_ssize_t _next_item
    cdef object _steps
    cdef list _walks
    cdef dict _by_table

    cdef list _begin(self)
    @cython.locals(out=bytearray)
    cpdef bytes next_chunk(self, Py_ssize_t budget_bytes)
    cpdef close(self)
    @cython.locals(walk=_Walk, table=Table, written=bytearray, position=Py_ssize_t)
    cdef _next_buckets(self)
    cdef _select(self, _Walk walk)
    cdef _announce(self, Encoder encoder, _Walk walk)
    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t)
    cdef _continue_buckets(self)
    cdef _step(self)
    cdef _end(self)
    @cython.locals(walk=_Walk, index=Py_ssize_t, encoder=Encoder, done=Py_ssize_t, items=list)
    cpdef before_write(self, Table table, bytes key)
    cdef _finish_buckets(self)
