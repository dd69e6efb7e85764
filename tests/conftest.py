"""Options of the test suite."""

import pytest
from hypothesis import HealthCheck, settings

# Speed is a benchmark's business: no test fails because the machine was busy.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kill-rounds",
        type=int,
        default=5,
        help="how often leader and follower are killed under load (tests/integration/test_log.py)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A client whose server was killed is left to the garbage collector."""
    left = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    for item in items:
        if item.get_closest_marker("integration"):
            item.add_marker(left)
