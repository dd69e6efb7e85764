cimport cython
cimport cache_server._core._core as compiled_core

@cython.final
cdef class Propagation:
    cdef public bint active
    cdef public list pending
    cdef compiled_core.ReplyWriter _writer
    cdef int _selected
    cdef object _wake

    cpdef add(self, int db_index, list args)
    cpdef add_alone(self, int db_index, list args)
    @cython.locals(pending=list, several=bint, db_index=int)
    cpdef finish_unit(self)
    cpdef bytes take(self)
    cpdef forget_selected(self)
    cdef _select(self, int db_index)
