cimport cython

cdef Py_ssize_t _CHUNK
cdef Py_ssize_t _END

@cython.final
cdef class List:
    cdef public list front
    cdef public list back
    cdef public object middle
    cdef public Py_ssize_t size

    cpdef list chunks(self)
    @cython.locals(front=list)
    cpdef Py_ssize_t push_left(self, bytes item) except -1
    @cython.locals(back=list)
    cpdef Py_ssize_t push_right(self, bytes item) except -1
    @cython.locals(front=list)
    cpdef bytes pop_left(self)
    @cython.locals(back=list)
    cpdef bytes pop_right(self)
    cpdef list pop_many(self, Py_ssize_t count, bint left)
    @cython.locals(cut=Py_ssize_t, front=list)
    cpdef drop_left(self, Py_ssize_t count)
    @cython.locals(cut=Py_ssize_t, back=list)
    cpdef drop_right(self, Py_ssize_t count)
    cdef _new_front(self, bytes item)
    cdef _new_back(self, bytes item)
    cdef _next_front(self)
    cdef _next_back(self)
    cpdef bytes get(self, Py_ssize_t index)
    @cython.locals(chunk=list, position=Py_ssize_t, result=list)
    cpdef list slice(self, Py_ssize_t start, Py_ssize_t stop)
    @cython.locals(behind=Py_ssize_t, chunk=list)
    cpdef tuple _locate(self, Py_ssize_t index)
    @cython.locals(chunk=list, end=Py_ssize_t, result=list)
    cdef list _slice_from_back(self, Py_ssize_t start, Py_ssize_t stop)

@cython.locals(value=List)
cpdef List list_of(list items)
