"""The embedded register: acceptors, the proposer, and both together under any order of messages."""

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.failover import quorum
from replication.failover.cluster_view import AcceptorState, Address, Ballot, RegisterValue
from replication.failover.coordinator import LostRace, Unreachable, Won, may_replace
from replication.failover.messages import MessageError

A, B = Address("10.0.0.1", 1), Address("10.0.0.2", 2)
ONE, TWO = RegisterValue(1, "a", A), RegisterValue(2, "b", B, ("a", "b"))


def test_an_acceptor_promises_the_higher_ballot_and_tells_what_it_accepted():
    state = AcceptorState(Ballot(3, "x"), Ballot(3, "x"), ONE)
    state, answer = quorum.prepare(state, Ballot(4, "a"))
    assert answer == quorum.Promise(Ballot(3, "x"), ONE)
    assert state.promised == Ballot(4, "a")


def test_an_acceptor_refuses_a_lower_ballot_for_both_phases():
    state = AcceptorState(Ballot(5, "x"))
    for after, answer in (
        quorum.prepare(state, Ballot(4, "z")),
        quorum.accept(state, Ballot(5, "a"), ONE, 0),
    ):
        assert answer == quorum.Refused(Ballot(5, "x"))
        assert after is state


def test_an_acceptor_bound_by_a_lease_does_not_accept_another_leader_yet():
    state, answer = quorum.accept(AcceptorState(), Ballot(1, "a"), ONE, 12.5)
    assert answer == quorum.Leased(13)
    assert state == AcceptorState()


def test_the_same_question_twice_gets_the_same_answer():
    state, first = quorum.prepare(AcceptorState(), Ballot(1, "a"))
    assert quorum.prepare(state, Ballot(1, "a")) == (state, first)
    state, first = quorum.accept(state, Ballot(1, "a"), ONE, 0)
    assert quorum.accept(state, Ballot(1, "a"), ONE, 0) == (state, first)


@pytest.mark.parametrize(
    "answer",
    [
        quorum.Promise(Ballot(0, ""), None),
        quorum.Promise(Ballot(4, "s1"), TWO),
        quorum.Accepted(),
        quorum.Refused(Ballot(9, "s2")),
        quorum.Leased(250),
    ],
)
def test_answers_survive_the_wire(answer):
    assert quorum.parse_answer(quorum.encode_answer(answer)) == answer


resp = st.recursive(
    st.none() | st.integers() | st.binary(max_size=8) | st.sampled_from([b"PROMISE", b"ACCEPTED"]),
    lambda inner: st.lists(inner, max_size=9).map(tuple),
    max_leaves=12,
)


@given(resp)
def test_any_reply_is_an_answer_or_the_typed_error(reply):
    with contextlib.suppress(MessageError):
        quorum.parse_answer(reply)


def test_the_rule_of_epochs():
    assert may_replace(None, ONE)
    assert may_replace(ONE, TWO)
    assert not may_replace(TWO, ONE)
    assert not may_replace(ONE, RegisterValue(1, "b", B))
    assert may_replace(ONE, RegisterValue(1, "a", A, ("a",), 1))
    assert not may_replace(ONE, RegisterValue(1, "a", A, ("a",)))


class Group:
    """Acceptors and proposers, and a bag of messages that a chance delivers, repeats or loses."""

    def __init__(self, seed, size=3):
        self.chance = random.Random(seed)
        self.names = [f"s{i}" for i in range(size)]
        self.states = dict.fromkeys(self.names, AcceptorState())
        self.proposers = {name: quorum.Proposer(name) for name in self.names}
        self.bag = []
        self.now = 0.0
        self.results = {}
        self.chosen = []

    def change(self, who, expected, value, patience=60_000):
        self.proposers[who].change(expected, value, len(self.names), patience, self.now)

    def step(self):
        self.now += 20
        for name, proposer in self.proposers.items():
            proposer.tick(self.now)
            for ask in proposer.take_asks():
                for target in self.names if ask.to is None else [ask.to]:
                    self.bag.append(("ask", name, target, ask))
            result = proposer.take_result()
            if result is not None:
                self.results.setdefault(name, []).append(result)
        for message in [m for m in self.bag if self.chance.random() < 0.5]:
            self.bag.remove(message)
            fate = self.chance.random()
            if fate < 0.15:
                continue
            if fate > 0.9:
                self.bag.append(message)
            self.deliver(message)

    def deliver(self, message):
        kind, proposer, target, what = message[:4]
        if kind == "answer":
            self.proposers[proposer].receive(target, what, message[4], self.now)
            return
        if what.value is None:
            self.states[target], answer = quorum.prepare(self.states[target], what.ballot)
        else:
            self.states[target], answer = quorum.accept(
                self.states[target], what.ballot, what.value, 0
            )
        self.bag.append(("answer", proposer, target, what.ballot, answer))

    def run(self, steps=400):
        for _ in range(steps):
            self.step()


def test_one_proposer_alone_wins():
    group = Group(1)
    group.change("s0", None, ONE)
    group.run()
    assert group.results == {"s0": [Won(ONE)]}


def test_a_change_that_was_prepared_needs_one_exchange():
    proposer = quorum.Proposer("s0")
    proposer.prepare(3, 0)
    (ask,) = proposer.take_asks()
    for name in ("s0", "s1"):
        proposer.receive(name, ask.ballot, quorum.Promise(Ballot(0, ""), None), 1)
    assert proposer.ready
    proposer.change(None, ONE, 3, 1_000, 90_000)
    assert proposer.take_asks() == [quorum.Ask(None, ask.ballot, ONE)]


def test_promises_to_a_ballot_that_was_overtaken_do_not_count():
    proposer = quorum.Proposer("s0")
    proposer.prepare(1, 0)
    (ask,) = proposer.take_asks()
    proposer.receive("s0", ask.ballot, quorum.Promise(Ballot(0, ""), None), 1)
    proposer.receive("s1", ask.ballot, quorum.Refused(Ballot(7, "s1")), 2)
    assert not proposer.ready
    proposer.change(None, ONE, 1, 1_000, 3)
    assert proposer.take_asks() == [quorum.Ask(None, Ballot(8, "s0"), None)]


def test_without_a_majority_the_result_is_unreachable():
    proposer = quorum.Proposer("s0")
    proposer.change(None, ONE, 3, 1_000, 0)
    proposer.receive("s0", proposer.take_asks()[0].ballot, quorum.Promise(Ballot(0, ""), None), 1)
    proposer.tick(999)
    assert proposer.take_result() is None
    proposer.tick(1_000)
    assert isinstance(proposer.take_result(), Unreachable)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 32), st.sampled_from([3, 5]), st.sets(st.integers(0, 2)), st.integers(0, 40)
)
def test_of_rivals_for_the_same_change_exactly_one_wins(seed, size, prepared, steps):
    group = Group(seed, size)
    rivals = {f"s{i}": RegisterValue(1, f"n{i}", Address("h", i + 1)) for i in range(3)}
    for i in sorted(prepared):
        group.proposers[f"s{i}"].prepare(size, group.now)
        group.run(steps)
    for name, value in rivals.items():
        group.change(name, None, value)
    group.run(600)
    decided = [result for results in group.results.values() for result in results]
    values = {
        r.value if isinstance(r, Won) else r.current
        for r in decided
        if not isinstance(r, Unreachable)
    }
    assert len(values) == 1
    assert sum(isinstance(r, Won) for r in decided) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_change_is_never_undone_by_a_later_one_that_expected_less(seed):
    group = Group(seed)
    group.change("s0", None, ONE)
    group.run(200)
    if group.results.get("s0") != [Won(ONE)]:
        return
    group.change("s1", None, RegisterValue(7, "late", B))
    group.run(300)
    assert group.results["s1"] == [LostRace(ONE)]
