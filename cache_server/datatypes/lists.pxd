cimport cython
from cache_server.client cimport Client
from cache_server.datatypes.list_value cimport List
from cache_server.keyspace.database cimport Database

@cython.locals(db=Database, value=List, index=Py_ssize_t)
cpdef lpush_command(Client ctx, list args)
@cython.locals(db=Database, value=List, index=Py_ssize_t)
cpdef rpush_command(Client ctx, list args)
@cython.locals(db=Database, value=List)
cpdef lpop_command(Client ctx, list args)
@cython.locals(db=Database, value=List)
cpdef rpop_command(Client ctx, list args)
cpdef emptied(Database db, bytes key)
@cython.locals(value=List, first=Py_ssize_t, last=Py_ssize_t, size=Py_ssize_t)
cpdef lrange_command(Client ctx, list args)
cpdef llen_command(Client ctx, list args)
