cimport cython
from cache_server.client cimport Client
from cache_server.keyspace.database cimport Database
from cache_server.structures.table cimport Table, table_of

@cython.final
cdef class Set:
    cdef public Table table
    cdef public bint integers

    @cython.locals(table=Table)
    cpdef bint add(self, bytes member, long long integers_max) except *
    cpdef fit(self, long long integers_max)
    cpdef bint discard(self, bytes member) except *
    cpdef list members(self)

@cython.locals(value=Set)
cpdef Set set_of(list members)
cdef bint _all_integers(list members) except *
@cython.locals(db=Database, value=Set, added=Py_ssize_t, index=Py_ssize_t, integers_max="long long")
cpdef sadd_command(Client ctx, list args)
@cython.locals(db=Database, value=Set, removed=Py_ssize_t, index=Py_ssize_t)
cpdef srem_command(Client ctx, list args)
cdef _emptied(Database db, bytes key)
@cython.locals(db=Database, value=Set, table=Table)
cpdef spop_command(Client ctx, list args)
@cython.locals(value=Set)
cpdef sismember_command(Client ctx, list args)
