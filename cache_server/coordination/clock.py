"""The clock by which promises are kept.

It has to go on while the process is stopped, and while the whole machine sleeps: Linux's
CLOCK_BOOTTIME does; elsewhere the monotonic clock is what there is.
"""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_ns() -> int:
    """Nanoseconds from some point in the past, never set back."""
    return time.clock_gettime_ns(_CLOCK)


def now_ms() -> float:
    """The same in milliseconds, with fractions."""
    return time.clock_gettime_ns(_CLOCK) / 1e6
