cimport cython

cdef Py_ssize_t _BLOCK

@cython.final
cdef class Counts:
    cdef Py_ssize_t size
    cdef long long[::1] tree

    @cython.locals(index=Py_ssize_t)
    cpdef int add(self, Py_ssize_t block, Py_ssize_t change) except -1
    @cython.locals(index=Py_ssize_t, total=Py_ssize_t)
    cpdef Py_ssize_t before(self, Py_ssize_t block) except -1
    @cython.locals(step=Py_ssize_t, block=Py_ssize_t)
    cpdef Py_ssize_t block_of(self, Py_ssize_t rank) except -1

@cython.final
cdef class SortedBlocks:
    cdef public Py_ssize_t used
    cdef public list scores
    cdef public list members
    cdef public Counts counts

    @cython.locals(block=Py_ssize_t, index=Py_ssize_t, scores=list, members=list)
    cpdef add(self, score, bytes member)
    @cython.locals(block=Py_ssize_t, index=Py_ssize_t, members=list)
    cpdef remove(self, score, bytes member)
    @cython.locals(block=Py_ssize_t, index=Py_ssize_t, last=Py_ssize_t, scores=list, members=list)
    cpdef move(self, old, new, bytes member)
    cpdef tuple pop_first(self)
    @cython.locals(block=Py_ssize_t, index=Py_ssize_t)
    cpdef tuple pop_last(self)
    @cython.locals(block=Py_ssize_t, index=Py_ssize_t)
    cpdef Py_ssize_t rank(self, score, bytes member) except -1
    cpdef Py_ssize_t rank_of_score(self, score, bint after) except -1
    @cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t, members=list)
    cpdef Py_ssize_t rank_of_name(self, bytes member, bint after) except -1
    @cython.locals(block=Py_ssize_t, index=Py_ssize_t)
    cpdef tuple at(self, Py_ssize_t rank)
    cpdef list member_slice(self, Py_ssize_t start, Py_ssize_t stop)
    cpdef list score_slice(self, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(block=Py_ssize_t, index=Py_ssize_t, left=Py_ssize_t, first=Py_ssize_t,
                   taken=Py_ssize_t, scores=list, members=list, removed=list)
    cpdef list remove_slice(self, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t, last=Py_ssize_t,
                   scores=list, value=double)
    cdef Py_ssize_t _block_for(self, double point, bytes member) except -1
    @cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t, scores=list, members=list,
                   value=double)
    cdef Py_ssize_t _index_in(self, Py_ssize_t block, double point, bytes member) except -1
    cdef Py_ssize_t _before(self, Py_ssize_t block) except -1
    @cython.locals(last=Py_ssize_t)
    cdef Py_ssize_t _block_at(self, Py_ssize_t rank) except -1
    @cython.locals(block=Py_ssize_t, index=Py_ssize_t, wanted=Py_ssize_t, found=list)
    cdef list _gather(self, list lists, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(scores=list, left=Py_ssize_t)
    cdef int _delete(self, Py_ssize_t block, Py_ssize_t index) except -1
    cdef int _join(self, Py_ssize_t block) except -1
    @cython.locals(scores=list, members=list, at=Py_ssize_t)
    cdef int _cut(self, Py_ssize_t block, Py_ssize_t index) except -1
