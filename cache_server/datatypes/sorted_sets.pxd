cimport cython
from cache_server.client cimport Client
from cache_server.keyspace.database cimport Database
from cache_server.structures.sorted_blocks cimport SortedBlocks, blocks_of
from cache_server.structures.table cimport Table, table_of

cdef int _NX, _XX, _GT, _LT, _CH, _INCR
cdef int _REFUSED, _SAME, _ADDED, _UPDATED

@cython.final
cdef class SortedSet:
    cdef public Table scores
    cdef public SortedBlocks order
    cdef public bint packed

    cpdef score(self, bytes member)
    cpdef set(self, bytes member, score)
    cpdef bint discard(self, bytes member) except *
    cpdef tuple pop(self, bint highest)
    @cython.locals(scores=Table)
    cpdef fit(self, Py_ssize_t entries_max, Py_ssize_t bytes_max)
    cpdef Py_ssize_t remove_slice(self, Py_ssize_t start, Py_ssize_t stop) except -1

@cython.locals(table=Table, value=SortedSet)
cpdef SortedSet sorted_set_of(list members, list scores)
cpdef bint remove_if_empty(Database db, bytes key, SortedSet zset) except *
cdef _parse_score(bytes word)
cdef SortedSet _opened(Database db, bytes key)
@cython.locals(new=double, old=double)
cdef int _put(Client ctx, SortedSet zset, bytes member, score, int options) except -1
@cython.locals(zset=SortedSet, added=Py_ssize_t, updated=Py_ssize_t, index=Py_ssize_t, outcome=int)
cdef _add(Client ctx, bytes key, list members, list scores, int options)
@cython.locals(zset=SortedSet, outcome=int)
cdef _increment(Client ctx, bytes key, bytes member, score, int options)
cdef bint _allowed(int options, double score, double current) except *
cdef _unpack_if_large(Client ctx, SortedSet zset, bytes member)
@cython.locals(options=int, first=Py_ssize_t, index=Py_ssize_t, outcome=int)
cpdef zadd_command(Client ctx, list args)
cpdef zincrby_command(Client ctx, list args)
@cython.locals(db=Database, zset=SortedSet, removed=Py_ssize_t, index=Py_ssize_t)
cpdef zrem_command(Client ctx, list args)
@cython.locals(db=Database, members=list, scores=list)
cdef tuple _pop(Client ctx, bytes key, SortedSet zset, bint highest, long long count)
@cython.locals(zset=SortedSet, count=cython.longlong)
cdef list _zpop(Client ctx, list args, bint highest)
cpdef zpopmin_command(Client ctx, list args)
cpdef zpopmax_command(Client ctx, list args)
@cython.locals(zset=SortedSet)
cpdef zcard_command(Client ctx, list args)
@cython.locals(zset=SortedSet)
cpdef zscore_command(Client ctx, list args)
@cython.locals(zset=SortedSet, rank=Py_ssize_t)
cdef _rank(Client ctx, list args, bint highest_first)
cpdef list flat(list members, list scores)
