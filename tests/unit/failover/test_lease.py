"""The lease: who may acknowledge writes, until when."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.failover.actions import Lead, PersistLease, Reply, Yield
from replication.failover.cluster_view import Address, LeaseState
from replication.failover.events import (
    LeaseAsked,
    LeaseGivenUp,
    LeaseTakenBack,
    RoleChanged,
    WireError,
)
from replication.failover.lease import (
    ALWAYS_MS,
    LeaderLease,
    SentinelLease,
    majority,
    stretched_ms,
)

TTL = 1000
HERE, THERE = Address("10.0.0.1", 6379), Address("10.0.0.2", 6379)


class Node:
    """A data node's lease with the sentinels' half played by hand."""

    def __init__(self, state=None, leading=True, boot="b1", restarted=False):
        self.lease = LeaderLease(state or LeaseState("me"), boot, leading, TTL)
        # The state stands for what this life has learnt, unless it is said to have restarted.
        self.lease.life_lost = restarted and self.lease.life_lost
        self.requests = 0
        self.actions = []

    def ask(self, *args, now=0.0):
        """One LEASE command; returns its reply, keeps the other actions."""
        self.requests += 1
        words = tuple(str(arg).encode() for arg in args)
        self.lease.receive(LeaseAsked(self.requests, words), now)
        self.actions = self.lease.take_actions()
        replies = [one for one in self.actions if isinstance(one, Reply)]
        assert [one.request for one in replies] == [self.requests]
        return replies[0].value

    def renew(self, sentinel, now, epoch=1, token="-", leader="me", members=3):
        return self.ask(
            "RENEW", "main", sentinel, members, epoch, leader, HERE.host, 6379, token, now=now
        )

    def grant(self, sentinel, issued, returned=None, epoch=1, members=3):
        token = self.renew(sentinel, issued, epoch, members=members)[3].decode()
        return self.renew(
            sentinel, issued if returned is None else returned, epoch, token, members=members
        )


def leased_node(now=0.0):
    node = Node(LeaseState("me", "main", 1, "me", under_lease=True))
    node.grant("a", now)
    node.grant("b", now)
    return node


def test_a_node_that_no_sentinel_manages_always_takes_writes():
    assert Node().lease.writable(1e12)
    assert Node().lease.writes_until_ms == ALWAYS_MS


def test_a_leader_goes_on_writing_until_a_majority_leads_it_for_the_first_time():
    node = Node()
    node.grant("a", 10)
    assert node.lease.writable(1e9)
    node.grant("b", 20)
    assert node.lease.state.under_lease
    assert node.lease.writes_until_ms == 10 + TTL


def test_the_lease_counts_from_when_the_token_was_issued_not_from_when_it_came_back():
    node = Node(LeaseState("me", "main", 1, "me", under_lease=True))
    node.grant("a", 0, returned=400)
    node.grant("b", 100, returned=900)
    assert node.lease.writable(999)
    assert not node.lease.writable(1000)


def test_a_minority_of_grants_is_no_lease():
    node = Node(LeaseState("me", "main", 1, "me", under_lease=True))
    node.grant("a", 0, members=5)
    node.grant("b", 0, members=5)
    assert not node.lease.writable(1)
    node.grant("c", 0, members=5)
    assert node.lease.writable(1)


def test_the_greatest_number_of_members_told_decides_the_majority():
    node = Node(LeaseState("me", "main", 1, "me", under_lease=True))
    node.grant("a", 0, members=3)
    node.grant("b", 0, members=5)
    assert not node.lease.writable(1)


def test_a_leader_knows_when_a_majority_last_stood_behind_it():
    node = leased_node(now=0.0)
    node.grant("a", TTL / 4)
    assert node.lease.unconfirmed_ms(TTL / 2 - 1) == 0.0
    assert node.lease.unconfirmed_ms(TTL / 2) == TTL / 2
    node.grant("b", TTL / 3)
    assert node.lease.unconfirmed_ms(TTL) == TTL * 3 / 4
    assert Node().lease.unconfirmed_ms(1e9) == 0.0


def test_a_token_that_came_back_after_its_time_counts_nothing():
    node = Node(LeaseState("me", "main", 1, "me", under_lease=True))
    node.grant("a", 0, returned=TTL)
    node.grant("b", 0, returned=TTL)
    assert not node.lease.writable(TTL)


def test_a_token_of_an_earlier_life_counts_nothing():
    state = LeaseState("me", "main", 1, "me", under_lease=True)
    before, after = Node(state, boot="b1"), Node(state, boot="b2")
    for sentinel in "ab":
        token = before.renew(sentinel, 5)[3].decode()
        after.renew(sentinel, 6, token=token)
    assert not after.lease.writable(6)


@pytest.mark.parametrize("token", ["b1", "b1.0", "b1.0.x", "b1.0.nan", "b1.0.inf", "b1.0.9e99"])
def test_a_forged_token_counts_nothing(token):
    node = Node(LeaseState("me", "main", 1, "me", under_lease=True))
    node.renew("a", 5, token=token)
    node.renew("b", 5, token=token)
    assert not node.lease.writable(5)


def test_a_node_once_under_lease_boots_read_only():
    node = Node(LeaseState("me", "main", 7, "me", under_lease=True))
    assert not node.lease.writable(0)
    assert not node.lease.confirmed


def test_a_leader_that_restarted_leads_again_only_under_a_new_epoch():
    node = Node(LeaseState("me", "main", 7, "me", under_lease=True), restarted=True)
    assert node.renew("a", 0, epoch=7) == (7, b"me", 0, b"restarted")
    node.grant("a", 1, epoch=8)
    node.grant("b", 1, epoch=8)
    assert node.lease.writable(2)


def test_a_leader_that_restarted_as_a_follower_does_not_lead_in_its_old_epoch():
    node = Node(LeaseState("me", "main", 7, "me", under_lease=True), False, restarted=True)
    node.ask("EPOCH", "main", 7, "me", HERE.host, HERE.port)
    assert not any(isinstance(one, Lead) for one in node.actions)


def test_a_leader_asks_for_an_in_sync_set_with_its_lease_and_learns_the_registers():
    node = leased_node()
    node.lease.want = (0, ("me.1", "b.1"))
    assert node.renew("a", 7)[4:] == (b"0", b"me.1,b.1")
    node.ask("EPOCH", "main", 1, "me", HERE.host, HERE.port, 1, "b.1,me.1", "-", now=8)
    assert node.lease.register == (1, 1, ("b.1", "me.1"))


def test_what_is_believed_of_an_epoch_is_durable_before_the_reply():
    node = Node()
    node.renew("a", 0, epoch=3)
    assert [type(one) for one in node.actions] == [PersistLease, Reply]
    assert node.actions[0].state == LeaseState("me", "main", 3, "me", under_lease=False)


def test_a_higher_epoch_that_names_another_leader_makes_the_leader_yield():
    node = leased_node()
    node.ask("EPOCH", "main", 2, "other", THERE.host, THERE.port, now=10)
    assert not node.lease.writable(10)
    assert [type(one) for one in node.actions] == [PersistLease, Yield, Reply]
    assert node.actions[1] == Yield(2, THERE)


def test_a_lower_epoch_changes_nothing():
    node = leased_node()
    node.ask("EPOCH", "main", 0, "other", THERE.host, THERE.port, now=10)
    assert node.lease.writable(10)


def test_a_follower_named_leader_is_told_to_lead_and_stays_fenced_until_leased():
    node = Node(leading=False)
    node.ask("EPOCH", "main", 2, "me", HERE.host, HERE.port)
    assert Lead(2) in node.actions
    assert not node.lease.writable(1)
    node.grant("a", 2, epoch=2)
    node.grant("b", 2, epoch=2)
    assert node.lease.writable(3)


def test_a_node_of_another_name_refuses():
    node = leased_node()
    reply = node.ask("EPOCH", "other-name", 9, "x", THERE.host, THERE.port)
    assert isinstance(reply, WireError)
    assert node.lease.state.epoch == 1


def test_a_released_lease_ends_writes_at_once_and_tells_the_heir():
    node = leased_node()
    node.lease.receive(LeaseGivenUp(THERE), 10)
    assert not node.lease.writable(10)
    assert node.renew("a", 11) == (1, b"me", 0, b"released", b"10.0.0.2", b"6379")


def test_a_node_that_follows_its_heir_still_says_that_it_released():
    node = leased_node()
    node.lease.receive(LeaseGivenUp(THERE), 10)
    node.lease.receive(RoleChanged(leading=False), 12)
    assert node.renew("c", 13)[3] == b"released"
    assert not [one for one in node.actions if isinstance(one, Lead)]


def test_an_heir_that_took_over_waits_a_moment_to_be_named():
    node = Node(LeaseState("me", "main", 1, "them", True), leading=False)
    node.lease.receive(RoleChanged(leading=True, handed=True), 100)
    node.ask("EPOCH", "main", 1, "them", THERE.host, 6379, now=200)
    assert node.lease.leading
    assert not node.lease.writable(200)
    node.ask("EPOCH", "main", 1, "them", THERE.host, 6379, now=90_000)
    assert Yield(1, THERE) in node.actions
    node.lease.receive(RoleChanged(leading=True, handed=True), 100_000)
    node.ask("EPOCH", "main", 2, "others", THERE.host, 6379, now=100_001)
    assert Yield(2, THERE) in node.actions


def test_a_node_knows_whether_the_register_names_this_life_of_it():
    node = Node(LeaseState("me", "main", 1, "me", True))
    assert not node.lease.named
    node.renew("s1", 0)
    assert node.lease.named
    node.ask("EPOCH", "main", 2, "them", THERE.host, 6379)
    assert not node.lease.named


def test_a_lease_taken_back_must_be_granted_anew():
    node = leased_node()
    token = node.renew("a", 5)[3].decode()
    node.lease.receive(LeaseGivenUp(THERE), 10)
    node.lease.receive(LeaseTakenBack(), 20)
    node.renew("a", 21, token=token)
    node.renew("b", 21, token=token)
    assert not node.lease.writable(21)
    node.grant("a", 22)
    node.grant("b", 22)
    assert node.lease.writable(23)


def test_promoted_by_hand_under_a_lease_a_node_takes_no_writes():
    node = Node(LeaseState("me", "main", 2, "other", under_lease=True), leading=False)
    node.lease.receive(RoleChanged(leading=True), 0)
    assert not node.lease.writable(1)
    assert node.renew("a", 1, epoch=2, leader="other")[2:] == (0, b"-")


def test_forget_makes_it_a_plain_server_again():
    node = leased_node()
    assert node.ask("FORGET") == b"OK"
    assert node.lease.state == LeaseState("me")
    assert node.lease.writable(1e12)


@given(st.lists(st.binary(max_size=12), max_size=10))
def test_any_arguments_get_a_reply_and_cost_nothing_else(args):
    node = leased_node()
    node.lease.receive(LeaseAsked(99, tuple(args)), 5)
    replies = [one for one in node.lease.take_actions() if isinstance(one, Reply)]
    assert [one.request for one in replies] == [99]
    forgot = [arg.upper() for arg in args] == [b"FORGET"]
    assert forgot or node.lease.writable(5)


def test_a_sentinel_keeps_quiet_for_a_whole_ttl_after_its_start():
    lease = SentinelLease(100, TTL)
    assert lease.blocked_ms(1, "me", 100) == stretched_ms(TTL)
    assert not lease.grant(1, "me", TTL, 100 + TTL)
    assert lease.grant(1, "me", TTL, 100 + stretched_ms(TTL))


def test_a_sentinel_promises_one_leader_at_a_time():
    lease = SentinelLease(-1e6, TTL)
    assert lease.grant(1, "a", TTL, 0)
    assert not lease.grant(2, "b", TTL, 500)
    assert lease.blocked_ms(2, "b", 500) == stretched_ms(TTL) - 500
    assert lease.blocked_ms(1, "a", 500) == 0
    assert lease.grant(2, "b", TTL, stretched_ms(TTL))


def test_a_longer_ttl_than_the_quiet_time_is_not_granted():
    assert not SentinelLease(-1e6, TTL).grant(1, "a", TTL + 1, 0)


def test_only_the_leader_that_holds_the_promise_can_release_it():
    lease = SentinelLease(-1e6, TTL)
    lease.grant(1, "a", TTL, 0)
    lease.release(1, "b")
    assert lease.blocked_ms(2, "b", 1) > 0
    lease.release(1, "a")
    assert lease.blocked_ms(2, "b", 1) == 0


@given(
    rate_leader=st.floats(0.995, 1.004),
    rate_sentinel=st.floats(0.995, 1.004),
    travel=st.floats(0, 2000),
    issued=st.floats(0, 1e9),
)
def test_no_clock_within_the_rate_bound_sees_the_promise_end_before_the_lease(
    rate_leader, rate_sentinel, travel, issued
):
    """In true time: the leader stops at issued + ttl/rate, the sentinel promises from later on."""
    leader_stops = issued + TTL / rate_leader
    promise_ends = issued + travel + stretched_ms(TTL) / rate_sentinel
    assert promise_ends >= leader_stops


def test_majority_of_any_two_groups_meets():
    for members in range(1, 20):
        assert 2 * majority(members) > members


def test_states_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LeaseState("me").epoch = 2
