cimport cython
from cpython.object cimport PyObject

ctypedef struct Block:
    Py_ssize_t size
    Py_ssize_t capacity
    double *scores
    PyObject **members

@cython.final
cdef class SortedBlocks:
    cdef Block **blocks
    cdef double *lasts
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef readonly Py_ssize_t used
    cdef Py_ssize_t *tree
    cdef Py_ssize_t tree_room
    cdef bint counted

    cpdef add(self, double score, bytes member)
    cpdef remove(self, double score, bytes member)
    cpdef move(self, double old, double new, bytes member)
    cpdef tuple pop_first(self)
    cpdef tuple pop_last(self)
    cpdef Py_ssize_t rank(self, double score, bytes member) except -1
    cpdef Py_ssize_t rank_of_score(self, double score, bint after) except -1
    cpdef Py_ssize_t rank_of_name(self, bytes member, bint after) except -1
    cpdef tuple at(self, Py_ssize_t rank)
    cpdef list member_slice(self, Py_ssize_t start, Py_ssize_t stop)
    cpdef list score_slice(self, Py_ssize_t start, Py_ssize_t stop)
    cpdef list remove_slice(self, Py_ssize_t start, Py_ssize_t stop)
    cpdef list block_sizes(self)

    cdef Py_ssize_t block_for(self, double point, PyObject *member) noexcept
    cdef tuple pair(self, Py_ssize_t index, Py_ssize_t place)
    cdef list gather(self, bint scores, Py_ssize_t start, Py_ssize_t stop)
    cdef Py_ssize_t before(self, Py_ssize_t index) except -1
    cdef Py_ssize_t block_at(self, Py_ssize_t rank) except -1
    cdef int make_counts(self) except -1
    cdef void count_one(self, Py_ssize_t index, Py_ssize_t change) noexcept
    cdef int insert_block(self, Py_ssize_t index, Block *block) except -1
    cdef void drop_block(self, Py_ssize_t index) noexcept
    cdef int delete(self, Py_ssize_t index, Py_ssize_t place) except -1
    cdef bint append(self, Block *block, double score, bytes member) except *
    cdef int join(self, Py_ssize_t index) except -1
    cdef int cut(self, Py_ssize_t index, Py_ssize_t place) except -1
    cdef void release(self) noexcept

cpdef SortedBlocks blocks_of(list members, list scores)
