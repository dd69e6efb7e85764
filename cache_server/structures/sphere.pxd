cimport cython

@cython.final
cdef class Sphere:
    cpdef double distance(self, double longitude, double latitude, double longitude_2,
                          double latitude_2) noexcept
    cpdef double latitude_distance(self, double latitude, double latitude_2) noexcept
