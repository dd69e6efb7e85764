cimport cython
from cache_server.client cimport Client
from cache_server.keyspace.database cimport Database
from cache_server.structures.hyperloglog cimport add as add_element
from cache_server.structures.hyperloglog cimport has_header, is_dense
from cache_server.structures.hyperloglog cimport invalidate as forget_count

cdef bytearray _checked(value)
cdef bytearray _opened(Database db, bytes key, value)
@cython.locals(db=Database, key=bytes, data=bytearray, updated=int, index=Py_ssize_t,
               bytes_max=Py_ssize_t)
cpdef pfadd_command(Client ctx, list args)
cpdef pfcount_command(Client ctx, list args)
cdef _count_one(Database db, bytes key)
cdef _count_union(Database db, list keys)
@cython.locals(db=Database)
cpdef pfmerge_command(Client ctx, list args)
