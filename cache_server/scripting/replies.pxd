cimport cython

@cython.locals(nulls=bint)
cpdef to_lua(value, int protocol, list stream)
cdef _append(value, int protocol, list stream)
cdef _append_list(value, int protocol, list stream)
