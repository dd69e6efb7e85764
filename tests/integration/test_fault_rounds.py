"""Random faults over real processes: a few rounds; `fault_rounds` itself runs many."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.integration.fault_rounds import run_rounds

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROUNDS = int(os.environ.get("TEST_FAULT_ROUNDS", "3"))


@pytest.mark.parametrize("durability", ["in-sync", "async"])
def test_faults_break_no_promise(durability: str, tmp_path: Path) -> None:
    in_sync = durability == "in-sync"
    assert asyncio.run(run_rounds(tmp_path, in_sync, 7, range(ROUNDS))) == []
