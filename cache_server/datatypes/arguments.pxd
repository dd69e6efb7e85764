cimport cython

cdef int _MINUS, _ZERO, _UNDERSCORE

@cython.locals(size=Py_ssize_t, start=Py_ssize_t, index=Py_ssize_t, value=longlong, digit=int)
cpdef integer_or_none(bytes word)
cdef _last_digit(bytes word)
cpdef parse_integer(bytes word)
cpdef float_or_none(bytes word)
