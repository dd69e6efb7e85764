cimport cython

cdef Py_ssize_t _OFFSET_MAX
cdef Py_ssize_t _COPY_MAX
cdef Py_ssize_t _LITERALS_MAX
cdef int _HASH_BITS

@cython.locals(out=bytearray, position=Py_ssize_t, end=Py_ssize_t, stop=Py_ssize_t, count=Py_ssize_t,
               back=Py_ssize_t, made=Py_ssize_t, control=int)
cpdef bytes decompress(bytes data, Py_ssize_t length)

cdef class Compressor:
    cdef unsigned int _base
    cdef unsigned int[::1] _places

    @cython.locals(size=Py_ssize_t, places="unsigned int[::1]", base="unsigned int", out=bytearray,
                   limit=Py_ssize_t, start=Py_ssize_t, position=Py_ssize_t, last=Py_ssize_t,
                   word="unsigned int", slot="unsigned int", place="unsigned int", match=Py_ssize_t,
                   back=Py_ssize_t, count=Py_ssize_t, most=Py_ssize_t)
    cpdef compress(self, bytes data)
    cdef _literals(self, bytearray out, bytes data, Py_ssize_t start, Py_ssize_t stop)
    cdef _copy(self, bytearray out, Py_ssize_t offset, Py_ssize_t count)
