"""State files: replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cache_server.coordination import constants, durable
from cache_server.errors import InputError


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    assert durable.read(path) is None
    durable.write(path, b"one")
    durable.write(path, b"two")
    assert durable.read(path) == b"two"
    assert os.listdir(tmp_path) == ["state"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        durable.write(str(path), b"x")
    assert path.is_dir()
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with open(path, "wb") as file:
        file.truncate(constants.STATE_BYTES_MAX + 1)
    with pytest.raises(InputError, match="larger"):
        durable.read(str(path))
