# The two clocks, without the cost of a Python call when the caller is compiled too.

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME
    int clock_gettime(int clock, timespec *now)


cdef inline long long clock_ns() noexcept:
    """The monotonic clock."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <long long>now.tv_sec * 1000000000 + now.tv_nsec


cdef class Stopwatch:
    """Reads the monotonic clock (ns) and the wall clock (Unix ms)."""

    cpdef long long monotonic_ns(self):
        return clock_ns()

    cpdef long long unix_ms(self):
        cdef timespec now
        clock_gettime(CLOCK_REALTIME, &now)
        return <long long>now.tv_sec * 1000 + now.tv_nsec // 1000000
