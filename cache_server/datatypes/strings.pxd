cimport cython
from cache_server.client cimport Client
from cache_server.keyspace.database cimport Database

cdef long long _INT64_MAX
cdef long long _INT64_MIN

cpdef get_command(Client ctx, list args)
@cython.locals(db=Database, key=bytes)
cpdef set_command(Client ctx, list args)
@cython.locals(db=Database, key=bytes, index=Py_ssize_t)
cpdef mset_command(Client ctx, list args)
@cython.locals(db=Database)
cpdef mget_command(Client ctx, list args)
cpdef incr_command(Client ctx, list args)
cpdef decr_command(Client ctx, list args)
@cython.locals(db=Database, old=cython.longlong, total=cython.longlong)
cdef _increment(Client ctx, bytes key, long long delta)
