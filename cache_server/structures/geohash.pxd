cimport cython
from cache_server.structures.sphere cimport Sphere

cdef unsigned long long _MASK_32, _MASK_16, _MASK_8, _MASK_4, _MASK_2, _EVEN, _ODD
cdef int _STEPS_MAX
cdef Sphere _EARTH
cdef double _SIZE, _LATITUDE_MAX, _LONGITUDE_MAX
cdef double _LATITUDE_RANGE, _LONGITUDE_RANGE, _EARTH_RADIUS, _MERCATOR_MAX, _RADIAN

cdef unsigned long long _spread(unsigned long long number)
cdef unsigned long long _gather(unsigned long long number)
@cython.locals(size=double, x="unsigned long long", y="unsigned long long")
cpdef encode(double longitude, double latitude, int steps)
@cython.locals(longitude=double, latitude=double)
cpdef tuple decode(double score)
@cython.locals(west=double, south=double, east=double, north=double, longitude=double,
               latitude=double)
cdef (double, double) _position(double score)
cdef unsigned long long _score_bits(double score)
@cython.locals(size=double, x="unsigned long long", y="unsigned long long",
               x_next="unsigned long long", y_next="unsigned long long")
cdef (double, double, double, double) _area(unsigned long long box, int steps)
@cython.locals(longitude=double, latitude=double, half_width=double, half_height=double,
               score=double, longitude_2=double, latitude_2=double, metres=double, found=list,
               index=Py_ssize_t)
cpdef list find_within(tuple center, double radius, tuple sides, list members, list scores,
                       Py_ssize_t limit)
