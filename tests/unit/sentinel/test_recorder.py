"""The flight recorder: what is kept, across restarts and within its limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache_server.sentinel import recorder
from cache_server.sentinel.recorder import Recorder


def events(path: Path, count: int = 100) -> list[str]:
    return [line.partition(" ")[2] for line in Recorder(str(path)).last(count)]


def test_role_changes_survive_a_restart_and_the_rest_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "history"
    first = Recorder(str(path))
    first.note("+odown", "master m 10.0.0.1 6379 #quorum 2/2")
    first.note("+slave", "slave 10.0.0.2:6379 10.0.0.2 6379 @ m 10.0.0.1 6379")
    Recorder(str(path)).note("+switch-master", "m 10.0.0.1 6379 10.0.0.2 6379")
    assert events(path) == [
        "+odown master m 10.0.0.1 6379 #quorum 2/2",
        "+switch-master m 10.0.0.1 6379 10.0.0.2 6379",
    ]
    assert events(path, 1) == ["+switch-master m 10.0.0.1 6379 10.0.0.2 6379"]
    assert events(path, 0) == []


def test_the_newest_events_stay_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "FILES_BYTES_MAX", 2_000)
    path = tmp_path / "history"
    one = Recorder(str(path))
    for number in range(100):
        one.note("+switch-master", f"m {number}")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2_200
    assert events(path)[-1] == "+switch-master m 99"


def test_a_line_that_does_not_parse_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"\xff\xfe rubbish\n17 +tilt #tilt mode entered\n+tilt\n")
    assert events(path) == ["+tilt #tilt mode entered"]


def test_a_recorder_that_cannot_write_says_so_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = Recorder(str(tmp_path / "missing" / "history"))
    one.note("+tilt", "x")
    one.note("+tilt", "x")
    assert caplog.text.count("cannot be written") == 1
    assert one.last(5) == []
