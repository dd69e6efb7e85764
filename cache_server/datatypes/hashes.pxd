cimport cython
from cache_server.client cimport Client
from cache_server.keyspace.database cimport Database
from cache_server.structures.fields cimport Fields

@cython.final
cdef class Hash(Fields):
    cdef public bint packed
    cdef public int longest

    cpdef fit(self, Py_ssize_t entries_max, Py_ssize_t bytes_max)

@cython.locals(value=Hash)
cpdef Hash hash_of(list words)

@cython.locals(index=Py_ssize_t, word=bytes)
cdef _unpack_if_large(Client ctx, Hash fields, list words, Py_ssize_t first, Py_ssize_t added)
cdef Hash _opened(Database db, bytes key)
@cython.locals(db=Database, fields=Hash, count=Py_ssize_t, index=Py_ssize_t, added=Py_ssize_t)
cpdef hset_command(Client ctx, list args)
@cython.locals(db=Database, fields=Hash, index=Py_ssize_t, removed=Py_ssize_t)
cpdef hdel_command(Client ctx, list args)
@cython.locals(db=Database, fields=Hash)
cpdef hget_command(Client ctx, list args)
@cython.locals(fields=Hash)
cpdef hmget_command(Client ctx, list args)
@cython.locals(fields=Hash)
cpdef hgetall_command(Client ctx, list args)
