cimport cython
from cpython.object cimport PyObject

ctypedef struct Bucket:
    unsigned char tags[8]
    PyObject *keys[7]
    PyObject *values[7]  # not there in a table of entries

@cython.final
cdef class Table:
    cdef dict small
    cdef Bucket **segments
    cdef Bucket *at
    cdef Py_ssize_t count
    cdef readonly Py_ssize_t used
    cdef Py_ssize_t mask
    cdef public int frozen
    cdef bint entries
    cdef int shift

    cdef void release(self) noexcept
    cdef Bucket *bucket_at(self, Py_ssize_t index) noexcept
    cdef Bucket *new_buckets(self, Py_ssize_t count) except NULL
    cdef void free_pairs(self, Bucket *bucket) noexcept
    cdef bint same(self, PyObject *held, PyObject *key) noexcept
    cdef object key_in(self, Bucket *bucket, int slot)
    cdef object value_in(self, Bucket *bucket, int slot)
    cdef void move(self, Bucket *source, int slot, Bucket *target, int free) noexcept
    cdef Py_hash_t code_in(self, Bucket *bucket, int slot) noexcept
    cdef Py_ssize_t index_of(self, Py_hash_t code) noexcept
    cdef add_keys(self, Py_ssize_t index, list result)
    cdef int find_slot(self, bytes key) except -2
    cdef int insert(self, bytes key, value) except -1
    cdef int free_slot(self, Bucket **chain) except -1
    cdef int place(self, Bucket *source, int slot, Bucket *target) except -1
    cdef int remove(self, bytes key, int slot) except -1
    cdef void tidy(self, Bucket *bucket) noexcept
    cdef int depth(self, Py_ssize_t index) noexcept
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef int grow_up(self) except -1
    cdef int shrink_down(self) except -1
    cdef int split(self) except -1
    cdef int pack(self, Bucket *first) except -1
    cdef void move_forward(self, Bucket *first, Bucket *bucket, int slot) noexcept
    cdef int merge(self) except -1

    cpdef Py_ssize_t bucket_index(self, bytes key) except -1
    cpdef Py_ssize_t bucket_count(self) except -1
    cpdef list bucket_items(self, Py_ssize_t index)
    cpdef list bucket_keys(self, Py_ssize_t index)
    cpdef get(self, bytes key)
    cpdef bint set(self, bytes key, value) except *
    cpdef pop(self, bytes key)
    cpdef bint discard(self, bytes key) except *
    cpdef clear(self)
    cpdef list flat_items(self)
    cpdef list keys_list(self)
    cpdef Py_ssize_t longest_key(self) except -1
    cpdef tuple scan(self, unsigned long cursor, Py_ssize_t count)
    cpdef random_key(self, rng)

cpdef Table table_of(list keys, list values)
