"""Options of the test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kill-rounds",
        type=int,
        default=5,
        help="how often leader and follower are killed under load (tests/integration/test_log.py)",
    )
