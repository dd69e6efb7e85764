cimport cython
from cache_server.client cimport Client
from cache_server.datatypes.stream_groups cimport Group
from cache_server.keyspace.database cimport Database

@cython.final
cdef class Node:
    cdef public list ids
    cdef public list fields
    cdef public Py_ssize_t size_bytes
    cdef public Py_ssize_t gone

@cython.final
cdef class Stream:
    cdef public list nodes
    cdef public Py_ssize_t length
    cdef public object last_id
    cdef public object max_deleted_id
    cdef public object entries_added
    cdef public dict groups

    @cython.locals(node=Node, size=Py_ssize_t, word=bytes)
    cpdef append(self, entry_id, list fields, Py_ssize_t entries_max=*, Py_ssize_t bytes_max=*)
    @cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t, node=Node, ids=list)
    cdef Py_ssize_t _node_of(self, entry_id) except -1
    @cython.locals(index=Py_ssize_t, node=Node)
    cpdef bint has(self, entry_id) except *
    @cython.locals(found=list, index=Py_ssize_t, node=Node, ids=list, start=Py_ssize_t, stop=Py_ssize_t)
    cpdef list range(self, low, high, Py_ssize_t count=*)
    @cython.locals(node=Node)
    cpdef newest_id(self)
    cpdef deleted_ahead(self)
    cpdef entries_up_to(self, entry_id)
    cpdef was_read(self, Group group, list found)

@cython.locals(stream=Stream, at=Py_ssize_t, words=Py_ssize_t)
cpdef xadd_command(Client ctx, list args)
@cython.locals(db=Database)
cdef _append(Client ctx, list args, Py_ssize_t at, Stream stream, entry_id, trimming)
cdef _given_id(bytes word, last)
