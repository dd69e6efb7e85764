"""Distances on Earth, taken for a sphere. Twin of `sphere.pyx`, which is compiled.

The haversine formula on doubles, in the order of operations that Redis has, so that results are
equal to the last bit. Positions are in degrees, longitude first; distances in metres.
"""

from __future__ import annotations

from math import asin, cos, nan, pi, sin, sqrt

EARTH_RADIUS = 6372797.560856
RADIAN = pi / 180.0


class Sphere:
    """Measures distances. It holds nothing: a class, so that compiled modules reach its methods."""

    def distance(
        self, longitude: float, latitude: float, longitude_2: float, latitude_2: float
    ) -> float:
        """Between two positions; nan where rounding takes the formula out of its range."""
        v = sin((longitude_2 * RADIAN - longitude * RADIAN) / 2)
        if v == 0.0:
            return self.latitude_distance(latitude, latitude_2)
        y = latitude * RADIAN
        y_2 = latitude_2 * RADIAN
        u = sin((y_2 - y) / 2)
        a = u * u + cos(y) * cos(y_2) * v * v
        return 2.0 * EARTH_RADIUS * asin(sqrt(a)) if a <= 1.0 else nan

    def latitude_distance(self, latitude: float, latitude_2: float) -> float:
        """From one parallel to another."""
        return EARTH_RADIUS * abs(latitude_2 * RADIAN - latitude * RADIAN)
