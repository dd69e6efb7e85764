"""Every *.txt beside this file is a story that must come true."""

from pathlib import Path

import pytest

from tests.scenarios.failover.runner import run_file
from tests.scenarios.failover.world import FailoverWorld

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    run_file(path, FailoverWorld)
