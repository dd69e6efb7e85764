# A growable byte buffer. Bytes between `start` and `end` are held; both move to 0 when it is empty.
#
#     0        start            end            capacity
#     | spent  | held           | free         |

cdef Py_ssize_t KEPT_CAPACITY = 16 * 1024


cdef class Buffer:
    def __cinit__(self):
        self.capacity = 0
        self.capacity_min = 1024
        self.capacity_kept = 4 * KEPT_CAPACITY
        self.data = NULL
        self.start = self.end = 0

    def __dealloc__(self):
        PyMem_RawFree(self.data)

    cdef int reserve(self, Py_ssize_t extra) except -1:
        """Makes room for `extra` bytes behind `end`."""
        cdef Py_ssize_t held = self.end - self.start
        cdef Py_ssize_t wanted
        cdef char *grown
        if self.capacity - self.end >= extra:
            return 0
        if self.start > 0:
            memmove(self.data, self.data + self.start, held)
            self.start = 0
            self.end = held
            if self.capacity - held >= extra:
                return 0
        wanted = held + extra
        if wanted < 2 * self.capacity:
            wanted = 2 * self.capacity
        if wanted < self.capacity_min:
            wanted = self.capacity_min
        grown = <char *>PyMem_RawRealloc(self.data, wanted)
        if grown == NULL:
            raise MemoryError()
        self.data = grown
        self.capacity = wanted
        return 0

    cdef int append(self, const char *data, Py_ssize_t length) except -1:
        if self.capacity - self.end < length:
            self.reserve(length)
        memcpy(self.data + self.end, data, length)
        self.end += length
        return 0

    cdef void drop(self, Py_ssize_t length) noexcept:
        """Forgets the first `length` bytes held."""
        self.start += length
        if self.start == self.end:
            self.clear()

    cdef void clear(self) noexcept:
        self.start = self.end = 0
        if self.capacity > self.capacity_kept:
            self.free()

    cdef void free(self) noexcept:
        """Gives the memory back; nothing may be held."""
        PyMem_RawFree(self.data)
        self.data = NULL
        self.capacity = 0
