"""The states of one failover, as a table.

Sentinel's own states keep their names, since `failover-state` and the `+failover-state-*` events
show them. Two are ours: `drain`, in which a planned failover has the leader pause, catch its heir
up and give its lease back; and `register`, in which the new epoch and leader are made true by one
compare-and-set before anybody is told.

The diagram in docs/failover.md is drawn from TRANSITIONS by `diagram()`, and a test compares them.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a failover is; the value is Redis's word for it."""

    NONE = "none"
    WAIT_START = "wait_start"
    SELECT_SLAVE = "select_slave"
    DRAIN = "drain"
    REGISTER = "register"
    SEND_SLAVEOF_NOONE = "send_slaveof_noone"
    WAIT_PROMOTION = "wait_promotion"
    RECONF_SLAVES = "reconf_slaves"
    UPDATE_CONFIG = "update_config"


class Step(enum.Enum):
    """What moves a failover on."""

    BEGIN = "leader objectively down, lease given back, or SENTINEL FAILOVER"
    ELECTED = "won the election, or planned"
    CHOSEN = "a follower is fit"
    DRAINABLE = "planned, and the leader can hand over"
    RELEASED = "the leader gave its lease back"
    WON = "the register names the follower"
    SENT = "told to lead"
    PROMOTED = "it reports to lead"
    RECONFIGURED = "all reachable followers follow it, or time is up"
    SWITCHED = "addresses exchanged"
    ABORT = "given up, or another sentinel was first"


TRANSITIONS: dict[State, dict[Step, State]] = {
    State.NONE: {Step.BEGIN: State.WAIT_START},
    State.WAIT_START: {Step.ELECTED: State.SELECT_SLAVE, Step.ABORT: State.NONE},
    State.SELECT_SLAVE: {
        Step.DRAINABLE: State.DRAIN,
        Step.CHOSEN: State.REGISTER,
        Step.ABORT: State.NONE,
    },
    State.DRAIN: {Step.RELEASED: State.REGISTER, Step.ABORT: State.NONE},
    State.REGISTER: {Step.WON: State.SEND_SLAVEOF_NOONE, Step.ABORT: State.NONE},
    State.SEND_SLAVEOF_NOONE: {Step.SENT: State.WAIT_PROMOTION, Step.ABORT: State.NONE},
    State.WAIT_PROMOTION: {Step.PROMOTED: State.RECONF_SLAVES, Step.ABORT: State.NONE},
    State.RECONF_SLAVES: {Step.RECONFIGURED: State.UPDATE_CONFIG, Step.ABORT: State.NONE},
    State.UPDATE_CONFIG: {Step.SWITCHED: State.NONE},
}


def after(state: State, step: Step) -> State:
    """The state that follows. An edge that is not in the table is a fault of ours and asserts."""
    assert step in TRANSITIONS[state], f"no way from {state.value} by {step.name}"
    return TRANSITIONS[state][step]


def diagram() -> str:
    """The table as lines of text, for the documentation."""
    lines = []
    for state, edges in TRANSITIONS.items():
        for step, target in edges.items():
            lines.append(f"{state.value:<18} -- {step.value} --> {target.value}")
    return "\n".join(lines)
