"""Ranking, detector, election, promotion: the small pure parts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.failover import election, promotion, ranking
from replication.failover.cluster_view import Address, Timings
from replication.failover.detector import ClockDoubt, Heartbeat, Signs, subjectively_down
from replication.failover.election import Vote
from replication.failover.events import WireError
from replication.failover.promotion import TRANSITIONS, State, Step, after

SITUATION = ranking.Situation(True, 5_000, 1_000, 1_000, 10_000)


def candidate(port=1, **changes):
    known = {
        "address": Address("h", port),
        "run_id": f"r{port}",
        "priority": 100,
        "repl_offset": 10,
        "down": False,
        "connected": True,
        "answer_age_ms": 100,
        "info_age_ms": 100,
        "link_down_ms": 0,
    }
    return ranking.Candidate(**(known | changes))


def test_priority_goes_before_offset_and_offset_before_run_id():
    low, far, near = (
        candidate(1, priority=10, repl_offset=1),
        candidate(2, repl_offset=99),
        candidate(3),
    )
    assert ranking.best([near, far, low], SITUATION) is low
    assert ranking.best([near, far], SITUATION) is far
    assert ranking.best([near, candidate(2)], SITUATION).run_id == "r2"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"down": True}, "down"),
        ({"connected": False}, "disconnected"),
        ({"answer_age_ms": 5_001}, "answered"),
        ({"priority": 0}, "never promote"),
        ({"info_age_ms": 5_001}, "INFO"),
        ({"link_down_ms": 15_001}, "link"),
    ],
)
def test_the_unfit_are_refused_with_a_reason(changes, reason):
    assert reason in ranking.unfit(candidate(**changes), SITUATION)
    assert ranking.best([candidate(**changes)], SITUATION) is None


def test_with_the_leader_up_an_older_info_is_good_enough():
    up = ranking.Situation(False, 0, 1_000, 1_000, 10_000)
    assert ranking.unfit(candidate(info_age_ms=29_000), up) == ""


def test_a_heartbeat_owes_an_answer_from_the_first_unanswered_ping_on():
    beat = Heartbeat(0)
    assert beat.answered(b"PONG", 10)
    assert beat.silent_ms(True, 5_000) == 0
    beat.sent(1_000)
    beat.sent(2_000)
    assert beat.silent_ms(True, 2_500) == 1_500


@pytest.mark.parametrize(
    ("reply", "valid"),
    [
        (b"PONG", True),
        (WireError("LOADING Redis is loading"), True),
        (WireError("MASTERDOWN Link with MASTER is down"), True),
        (WireError("MISCONF Redis is configured to save"), False),
        (WireError("ERR unknown command 'PONG'"), False),
        (b"", False),
        (7, False),
    ],
)
def test_which_answers_to_ping_show_life(reply, valid):
    beat = Heartbeat(0)
    assert beat.answered(reply, 100) is valid
    assert (beat.silent_ms(True, 200) == 0) is valid


def test_a_disconnected_node_is_silent_since_its_last_valid_answer():
    beat = Heartbeat(0)
    beat.answered(b"PONG", 100)
    assert beat.silent_ms(False, 600) == 500


@pytest.mark.parametrize(
    ("signs", "down"),
    [
        (Signs(1_000, None, None), False),
        (Signs(1_001, None, None), True),
        (Signs(0, 21_000, None), False),
        (Signs(0, 21_001, None), True),
        (Signs(0, None, 501), True),
    ],
)
def test_subjectively_down(signs, down):
    assert subjectively_down(signs, 1_000, 10_000, 500) is down


def test_tilt_begins_when_time_stops_or_jumps_and_ends_after_its_period():
    doubt, timings = ClockDoubt(), Timings(tilt_trigger_ms=2_000, tilt_period_ms=5_000)
    assert doubt.tick(timings, 0) == ""
    assert doubt.tick(timings, 2_001) == "+tilt"
    assert doubt.active
    assert [doubt.tick(timings, ms) for ms in (4_000, 6_000, 7_001)] == ["", "", "-tilt"]
    assert doubt.tick(timings, 7_000) == "+tilt"


def test_a_vote_is_cast_once_per_epoch_for_the_first_who_asks():
    vote = election.cast(Vote(), 1, 1, "x")
    assert vote == Vote(1, "x")
    assert election.cast(vote, 1, 1, "y") is vote
    assert election.cast(vote, 2, 1, "y") is vote
    assert election.cast(vote, 2, 2, "y") == Vote(2, "y")


def test_no_vote_in_an_epoch_that_is_already_over():
    assert election.cast(Vote(), 5, 4, "x") == Vote()


@pytest.mark.parametrize(
    ("votes", "voters", "quorum", "won"),
    [
        ("xx", 3, 2, "x"),
        ("xy", 3, 2, ""),
        ("xx", 5, 2, ""),
        ("xxx", 5, 4, ""),
        ("xxxx", 5, 4, "x"),
        ("", 1, 1, ""),
    ],
)
def test_the_winner_needs_a_majority_and_the_quorum(votes, voters, quorum, won):
    assert election.winner([Vote(3, one) for one in votes], 3, voters, quorum) == won
    assert election.winner([Vote(2, one) for one in votes], 3, voters, quorum) == ""


@given(st.lists(st.sampled_from("xyz"), max_size=7))
def test_two_candidates_never_both_win(votes):
    won = election.winner([Vote(1, one) for one in votes], 1, 7, 1)
    for rival in set(votes) - {won}:
        assert votes.count(rival) < 4


def test_every_failover_ends_from_every_state():
    for state in State:
        seen, frontier = set(), {state}
        while frontier:
            seen |= frontier
            frontier = {to for one in frontier for to in TRANSITIONS[one].values()} - seen
        assert State.NONE in seen


def test_an_edge_that_is_not_in_the_table_asserts():
    with pytest.raises(AssertionError, match="no way"):
        after(State.NONE, Step.WON)


def test_the_diagram_shows_every_edge():
    assert len(promotion.diagram().splitlines()) == sum(map(len, TRANSITIONS.values()))


def test_the_documented_diagram_is_the_table():
    page = Path(__file__).parents[3] / "docs" / "failover.md"
    assert promotion.diagram() in page.read_text()
