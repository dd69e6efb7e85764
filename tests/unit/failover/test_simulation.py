"""The simulator as a test: seeds hold, a removed rule is found, equal seeds give equal runs."""

import subprocess
import sys

import pytest

from tests.sim.cluster import run

SEEDS = 40
SEEDS_TO_FIND = 100


@pytest.mark.parametrize("first", range(1, SEEDS + 1, 20))
def test_no_seed_breaks_a_rule(first):
    for seed in range(first, first + 20):
        outcome = run(seed)
        assert not outcome.violation, f"python -m tests.sim {seed}: {outcome.violation}"


# What does harm once in some fifty runs is searched for near one of them.
@pytest.mark.parametrize(
    ("rule", "first", "kinds"),
    [
        ("lease", 1, {"two writers", "epochs rise"}),
        ("persisted-vote", 10, {"one vote per epoch", "one leader per epoch", "epochs rise"}),
        ("drain", 15, {"handover lost a write"}),
        ("in-sync-check", 5, {"in-sync write lost"}),
        ("frame-epoch", 24, {"data of an earlier reign"}),
    ],
)
def test_a_rule_taken_out_is_found(rule, first, kinds):
    broken = (run(seed, (rule,)) for seed in range(first, first + SEEDS_TO_FIND))
    found = next((outcome for outcome in broken if outcome.kind in kinds), None)
    assert found is not None


def test_equal_seeds_give_equal_histories_in_one_process_and_in_another():
    first, second = run(7), run(7)
    assert first.history == second.history
    assert run(8).history != first.history
    other = subprocess.run(
        [sys.executable, "-m", "tests.sim", "7"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert first.digest in other.stdout


def test_a_failure_prints_the_seed_the_options_and_a_story():
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim", "1", "--seeds", "60", "--without", "lease"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "options: sentinels=" in done.stdout
    assert "VIOLATION" in done.stdout
    assert "node0 leads" in done.stdout or "node0 follows" in done.stdout
    assert "again: python -m tests.sim" in done.stdout
