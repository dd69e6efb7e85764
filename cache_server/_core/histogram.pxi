# How long the calls of one command took, counted by powers of two.

cdef enum:
    BUCKETS = 30

assert BUCKETS == _BUCKETS


@cython.final
cdef class Histogram:
    """`counts()[n]` calls took up to 2**n microseconds, those before it not among them; the last
    bucket takes all that is longer."""

    cpdef add(self, long long spent_us):
        """Counts a call."""
        cdef long long bound = 1
        cdef int index = 0
        while bound < spent_us and index < BUCKETS - 1:
            bound *= 2
            index += 1
        self.buckets[index] += 1

    def counts(self):
        """The counts, in a new list."""
        return [self.buckets[index] for index in range(BUCKETS)]
