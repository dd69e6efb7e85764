"""Transition tables: complete, reachable, and the only way to change state."""

import pytest

from replication.backlog import Backlog
from replication.follower_states import FOLLOWER_EDGES, ROLE_WORDS, FollowerState
from replication.full_sync import PASS_EDGES, PassState, SnapshotPass
from replication.handover import HANDOVER_EDGES, HandoverState
from replication.history import History
from replication.leader import Leader
from replication.progress import PROGRESS_EDGES, Progress, ProgressState
from replication.settings import LeaderSettings


@pytest.mark.parametrize(
    ("table", "start"),
    [
        (FOLLOWER_EDGES, FollowerState.IDLE),
        (PROGRESS_EDGES, ProgressState.HANDSHAKE),
        (HANDOVER_EDGES, HandoverState.IDLE),
        (PASS_EDGES, PassState.SPOOLING),
    ],
)
def test_every_state_has_a_row_and_can_be_reached(table: dict, start: object) -> None:
    assert set(table) == set(type(start))
    seen, frontier = {start}, [start]
    while frontier:
        for state in table[frontier.pop()] - seen:
            seen.add(state)
            frontier.append(state)
    assert seen == set(table)


def test_illegal_edges_raise() -> None:
    with pytest.raises(AssertionError):
        Progress(1).become(ProgressState.SNAPSHOT)
    leader = Leader(History("a" * 40), Backlog(1 << 20), LeaderSettings(), lambda: "b" * 40)
    with pytest.raises(AssertionError):
        leader.handover.become(HandoverState.ASKING)
    current = SnapshotPass(1, 0, 0, spooled=False, eof_mark="e" * 40)
    with pytest.raises(AssertionError):
        current.become(PassState.SPOOLING)


def test_every_follower_state_has_a_word_for_role() -> None:
    assert set(ROLE_WORDS) == set(FollowerState)
