cimport cython

cdef unsigned long long _MASK
cdef unsigned long long _MULTIPLIER
cdef unsigned long long _SEED
cdef Py_ssize_t _HEADER_BYTES, _REGISTERS, _DENSE_BYTES
cdef int _DENSE, _SPARSE
cdef int _INDEX_BITS, _HASH_BITS, _SPARSE_VALUE_MAX, _RUN_OF_VALUES_MAX, _SHORT_RUN_MAX
cdef int _JOIN_OPCODES

@cython.locals(size=Py_ssize_t, at=Py_ssize_t, total="unsigned long long",
               word="unsigned long long", byte="unsigned long long", shift=int)
cpdef unsigned long long murmur64(bytes data)
@cython.locals(rest="unsigned long long", index=Py_ssize_t, run=int)
cpdef int add(bytearray data, bytes element, Py_ssize_t bytes_max) except -1
cpdef int raise_register(bytearray data, Py_ssize_t index, int value, Py_ssize_t bytes_max) except -1
@cython.locals(index=Py_ssize_t, value=int)
cpdef raise_all(bytearray data, bytearray values, Py_ssize_t bytes_max)
@cython.locals(at=Py_ssize_t, shift=int, low=int, high=int)
cdef int _raise_dense(bytearray data, Py_ssize_t index, int value) except -1
@cython.locals(index=Py_ssize_t, at=Py_ssize_t, one=int, two=int, three=int, word=int, value=int,
               stop=Py_ssize_t)
cdef _load_dense(bytearray data, bytearray registers)
@cython.locals(index=Py_ssize_t, value=int, registers=bytearray)
cpdef to_dense(bytearray data)
@cython.locals(low=int, high=int)
cdef int _long_run(bytearray data, Py_ssize_t at) except -1
@cython.locals(index=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, byte=int, value=int, run=int,
               stop=Py_ssize_t)
cpdef merge(bytearray registers, bytearray data)
@cython.locals(end=Py_ssize_t, before=Py_ssize_t, at=Py_ssize_t, first=Py_ssize_t, run=int,
               opcode=int, held=int, old=int, parts=bytearray)
cdef int _raise_sparse(bytearray data, Py_ssize_t index, int value, Py_ssize_t bytes_max) except -1
@cython.locals(parts=bytearray)
cdef bytearray _split(int held, int value, Py_ssize_t left, Py_ssize_t right)
cdef _append_run(bytearray parts, int value, Py_ssize_t run)
@cython.locals(looked_at=int, opcode=int, second=int, run=int)
cdef _join(bytearray data, Py_ssize_t at)
cpdef invalidate(bytearray data)
cpdef bint has_header(data) except *
@cython.locals(size=Py_ssize_t, encoding=int)
cdef bint _is_headed(bytearray data) except -1
cpdef bint is_dense(bytearray data) except -1
cpdef cached_count(bytearray data)
cpdef count(bytearray data)
@cython.locals(counts="int[::1]", index=Py_ssize_t, value=int)
cpdef count_registers(bytearray registers)
@cython.locals(y=double, total=double, last=double)
cdef double _sigma(double x) except -1
@cython.locals(y=double, total=double, last=double)
cdef double _tau(double x) except -1
