# cython: language_level=3, cdivision=True
"""Distances on Earth, taken for a sphere. `sphere.py` is the specification."""

from libc.math cimport M_PI, NAN, asin, cos, fabs, sin, sqrt

cimport cython

cdef double _EARTH_RADIUS = 6372797.560856
cdef double _RADIAN = M_PI / 180.0
EARTH_RADIUS = _EARTH_RADIUS
RADIAN = _RADIAN


@cython.final
cdef class Sphere:
    """Measures distances. It holds nothing: a class, so that compiled modules reach its methods."""

    cpdef double distance(self, double longitude, double latitude, double longitude_2,
                          double latitude_2) noexcept:
        """Between two positions; nan where rounding takes the formula out of its range."""
        cdef double v = sin((longitude_2 * _RADIAN - longitude * _RADIAN) / 2)
        cdef double y, y_2, u, a
        if v == 0.0:
            return self.latitude_distance(latitude, latitude_2)
        y = latitude * _RADIAN
        y_2 = latitude_2 * _RADIAN
        u = sin((y_2 - y) / 2)
        a = u * u + cos(y) * cos(y_2) * v * v
        return 2.0 * _EARTH_RADIUS * asin(sqrt(a)) if a <= 1.0 else NAN

    cpdef double latitude_distance(self, double latitude, double latitude_2) noexcept:
        """From one parallel to another."""
        return _EARTH_RADIUS * fabs(latitude_2 * _RADIAN - latitude * _RADIAN)
