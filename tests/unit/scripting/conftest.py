"""Clients for tests of scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.scripting.talking import scripted
from tests.unit.talk import Shell


@pytest.fixture
def client() -> Iterator[Shell]:
    """A client of a fresh server."""
    with scripted() as shell:
        yield shell


@pytest.fixture(scope="module")
def shared() -> Iterator[Shell]:
    """A client of a server that a whole module talks to."""
    with scripted(busy_reply_threshold="0") as shell:
        yield shell
