cimport cython
from cache_server.client cimport Client
from cache_server.datatypes.sorted_sets cimport SortedSet

cdef tuple _clipped(first, last, Py_ssize_t size)

@cython.final
cdef class Range:
    cdef int kind
    cdef bint reverse
    cdef object low
    cdef object high

    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t)
    cpdef tuple ranks(self, SortedSet zset)

@cython.final
cdef class _Request:
    cdef bytes key
    cdef bint with_scores
    cdef object offset
    cdef object limit
    cdef int kind
    cdef bint reverse
    cdef object _reverse
    cdef bint _store
    cdef Range range

    @cython.locals(word=bytes)
    cdef _parse_options(self, list args, Py_ssize_t index)
    cdef _refuse_conflicts(self)
    cpdef tuple ranks(self, SortedSet zset)

@cython.locals(zset=SortedSet, size=Py_ssize_t, start=Py_ssize_t, stop=Py_ssize_t, members=list)
cdef list _read_ranks(Client ctx, list args, bint reverse)
@cython.locals(request=_Request, zset=SortedSet, start=Py_ssize_t, stop=Py_ssize_t, members=list,
               scores=list)
cdef list _read_range(Client ctx, list args, int kind, reverse)
cpdef zrange_command(Client ctx, list args)
cpdef zrevrange_command(Client ctx, list args)
