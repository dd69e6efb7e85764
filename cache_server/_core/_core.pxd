# What other compiled modules may call as C functions.

cdef class Stopwatch:
    cpdef long long monotonic_ns(self)
    cpdef long long unix_ms(self)
