cimport cython
from cache_server.client cimport Client
from cache_server.keyspace.database cimport Database

cdef object _offset(Client ctx, bytes word)
cdef object _checked_offset(Client ctx, offset)
cdef tuple _opened(Database db, bytes key, Py_ssize_t size)
cdef object _read(Client ctx, bytes key)
@cython.locals(db=Database, data=bytearray, mask=int, byte=int, place="long long", index=Py_ssize_t,
               old=int)
cpdef setbit_command(Client ctx, list args)
@cython.locals(place="long long", index=Py_ssize_t, byte=int)
cpdef getbit_command(Client ctx, list args)
cpdef bitcount_command(Client ctx, list args)
cpdef bitpos_command(Client ctx, list args)
@cython.locals(texts=list, db=Database, index=Py_ssize_t, size=Py_ssize_t)
cpdef bitop_command(Client ctx, list args)

@cython.final
cdef class Field:
    cdef public bytes action
    cdef public bytes overflow
    cdef public bint signed
    cdef public int width
    cdef public long long offset
    cdef public object operand

    cpdef Py_ssize_t end(self) except -1
    cpdef object load(self, data)
    cpdef store(self, bytearray data, number)
    cpdef object fitted(self, number)
    cpdef object new_value(self, old)

@cython.locals(index=Py_ssize_t, left=Py_ssize_t, field=Field)
cdef list _parse_fields(Client ctx, list args)
cdef object _field_offset(Client ctx, bytes word, width)
@cython.locals(db=Database, data=bytearray, field=Field, changes=Py_ssize_t,
               size=Py_ssize_t)
cpdef bitfield_command(Client ctx, list args)
