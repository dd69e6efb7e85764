"""Rates over the last samples: operations and bytes a second, as INFO's instantaneous fields."""

from __future__ import annotations

from collections import deque

_SAMPLES = 16


class Rate:
    """A growing count, sampled now and then."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._last: tuple[int, int] | None = None

    def sample(self, now_ms: int, count: int) -> None:
        if self._last is not None and now_ms > self._last[0]:
            self._samples.append((count - self._last[1]) * 1000 / (now_ms - self._last[0]))
        self._last = (now_ms, count)

    @property
    def per_second(self) -> float:
        return sum(self._samples) / len(self._samples) if self._samples else 0.0
