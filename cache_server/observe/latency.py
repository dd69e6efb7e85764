"""The latency monitor: spikes of named events, at most one a second, and what to say about them.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/.
"""

from __future__ import annotations

from collections import deque

#: Samples kept of each event.
SAMPLES_MAX = 160
_GRAPH_ROWS = 4
_GRAPH_MARKS = "_-`"


class LatencyEvent:
    """Samples (Unix seconds, ms) of one event, oldest first, and the highest ever."""

    def __init__(self) -> None:
        self.samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES_MAX)
        self.max_ms = 0

    def add(self, time_s: int, latency_ms: int) -> None:
        """Adds a sample; of one second only the highest is kept."""
        self.max_ms = max(self.max_ms, latency_ms)
        if self.samples and self.samples[-1][0] == time_s:
            latency_ms = max(latency_ms, self.samples.pop()[1])
        self.samples.append((time_s, latency_ms))


class LatencyMonitor:
    """Events by name."""

    def __init__(self) -> None:
        self.events: dict[bytes, LatencyEvent] = {}

    def add(self, name: bytes, time_s: int, latency_ms: int) -> None:
        self.events.setdefault(name, LatencyEvent()).add(time_s, latency_ms)

    def reset(self, names: list[bytes]) -> int:
        """Forgets the named events, or all; returns how many there were."""
        chosen = names or list(self.events)
        return sum(self.events.pop(name, None) is not None for name in chosen)

    def latest(self) -> list[list[object]]:
        return [
            [name, event.samples[-1][0], event.samples[-1][1], event.max_ms]
            for name, event in self.events.items()
        ]

    def doctor(self, threshold_ms: int) -> str:
        """A report for people."""
        if threshold_ms == 0:
            return (
                "Latency monitoring is disabled: CONFIG SET latency-monitor-threshold "
                "<milliseconds> enables it.\n"
            )
        if not self.events:
            return "No latency spike was observed since the monitor was enabled.\n"
        lines = ["Latency spikes were observed.", ""]
        for number, (name, event) in enumerate(self.events.items(), 1):
            values = [latency for _, latency in event.samples]
            average = sum(values) / len(values)
            deviation = sum(abs(value - average) for value in values) / len(values)
            span = max(1, event.samples[-1][0] - event.samples[0][0])
            lines.append(
                f"{number}. {name.decode('latin-1')}: {len(values)} latency spikes "
                f"(average {average:.0f}ms, mean deviation {deviation:.0f}ms, "
                f"period {span / len(values):.2f} sec). Worst all time event {event.max_ms}ms."
            )
        return "\n".join(lines) + "\n"

    def graph(self, name: bytes, now_s: int) -> str:
        """The samples drawn as columns, with their age below."""
        samples = list(self.events[name].samples)
        low = min(latency for _, latency in samples)
        high = max(latency for _, latency in samples)
        text = (
            f"{name.decode('latin-1')} - high {high} ms, low {low} ms "
            f"(all time high {self.events[name].max_ms} ms)\n" + "-" * 80 + "\n"
        )
        steps = _GRAPH_ROWS * len(_GRAPH_MARKS) - 1
        levels = [
            0 if high == low else (latency - low) * steps // (high - low) for _, latency in samples
        ]
        for row in reversed(range(_GRAPH_ROWS)):
            text += "".join(_cell(level, row) for level in levels).rstrip() + "\n"
        labels = [_age(now_s - time_s) for time_s, _ in samples]
        for index in range(max(map(len, labels))):
            text += "".join(label[index : index + 1] or " " for label in labels).rstrip() + "\n"
        return text


def _cell(level: int, row: int) -> str:
    """What a column of a level shows in a row: its mark, a stem below it, nothing above."""
    own_row, mark = divmod(level, len(_GRAPH_MARKS))
    if row == own_row:
        return _GRAPH_MARKS[mark]
    return "|" if row < own_row else " "


def _age(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
