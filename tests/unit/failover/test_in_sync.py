"""The in-sync set: whom a write waits for, who joins, who leaves, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.failover.in_sync import InSyncSet, InSyncSettings
from replication.failover.loss import LossBound

ME, B, C = "me.1", "b.1", "c.1"


def led(*members, **settings):
    """A leader whose register holds these members."""
    one = InSyncSet(ME, InSyncSettings(**{"members_min": 2, "timeout_ms": 500, **settings}))
    one.begin(0)
    one.learn(1, (ME, *members))
    return one


def test_a_leader_that_the_majority_has_not_confirmed_for_the_bound_takes_no_more_writes() -> None:
    bound = LossBound(ms_max=400)
    assert not bound.unsure(399)
    assert bound.unsure(400)
    assert not LossBound(bytes_max=100).unsure(10_000)


def test_nothing_is_released_before_the_register_has_a_set():
    one = InSyncSet(ME)
    one.begin(10)
    assert one.update({B: 10}, 10, 10, 0) == (0, (B, ME))
    assert one.released == -1
    assert not one.enough({B: 10})
    one.learn(1, (B, ME))
    one.update({B: 10}, 10, 10, 1)
    assert one.released == 10
    assert one.enough({B: 10})


def test_a_write_waits_for_every_member():
    one = led(B, C)
    one.update({B: 7, C: 5}, 9, 9, 0)
    assert one.released == 5
    one.update({B: 9}, 9, 9, 1)
    assert one.released == 5


def test_who_is_to_join_is_waited_for_from_the_asking_on():
    one = led(B)
    assert one.update({B: 5, C: 5}, 5, 5, 0) == (1, (B, C, ME))
    one.update({B: 9, C: 5}, 9, 9, 2)
    assert one.released == 5
    one.update({B: 9, C: 9}, 9, 9, 3)
    assert one.released == 9


def test_who_lacks_an_acknowledged_write_may_not_join():
    one = led(B)
    one.update({B: 5}, 5, 5, 0)
    assert one.update({B: 5, C: 4}, 5, 5, 1) is None


def test_a_member_that_owes_too_long_leaves_and_is_waited_for_until_it_has():
    one = led(B, C)
    assert one.update({B: 1, C: 0}, 1, 1, 0) is None
    assert one.update({B: 1, C: 0}, 1, 1, 501) == (1, (B, ME))
    assert one.released == 0
    one.learn(2, (B, ME))
    one.update({B: 1, C: 0}, 1, 1, 502)
    assert one.released == 1


def test_a_member_that_is_away_owes_even_while_nobody_writes():
    one = led(B, C)
    one.update({B: 0}, 0, 0, 0)
    assert one.update({B: 0}, 0, 0, 501) == (1, (B, ME))


def test_a_slow_member_that_goes_on_stays():
    one = led(B, C)
    for step in range(10):
        assert one.update({B: step, C: step}, step + 1, step + 1, step * 400.0) is None


def test_the_set_never_shrinks_below_what_writes_need():
    one = led(B)
    one.update({}, 1, 1, 0)
    assert one.update({}, 1, 1, 5_000) is None
    assert not one.enough({})
    assert one.released == -1


def test_an_old_version_changes_nothing():
    one = led(B, C)
    one.learn(1, (ME,))
    assert one.confirmed == {ME, B, C}


def test_a_new_reign_begins_with_nothing_confirmed():
    one = led(B)
    one.update({B: 5}, 5, 5, 0)
    one.begin(8)
    assert (one.released, one.confirmed) == (-1, frozenset())
    assert one.update({B: 7}, 8, 0, 0) is None
    assert one.update({B: 8}, 8, 0, 0) == (0, (B, ME))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), max_size=30))
def test_what_is_released_every_member_has_and_it_never_falls(steps):
    one, acked, end, before, now = led(B, C), {}, 0, -1, 0.0
    for to_b, to_c, confirm in steps:
        now += 200
        end = max(end, to_b, to_c)
        acked = {B: max(acked.get(B, 0), to_b), C: max(acked.get(C, 0), to_c)}
        want = one.update(acked, end, end, now)
        assert one.released >= before
        assert all(acked[m] >= one.released for m in one.confirmed - {ME}) or one.released == before
        before = one.released
        if want is not None and confirm:
            one.learn(want[0] + 1, want[1])


def test_without_a_bound_nothing_is_slowed_down():
    bound = LossBound()
    bound.begin(0)
    assert not bound.bounded
    assert bound.wait_ms(*bound.note(-1, 1 << 30, True, 1e9)) == 0
    assert not bound.reached(*bound.note(-1, 1 << 30, True, 1e9))


def test_answers_wait_from_half_of_the_bound_on_and_writes_are_refused_at_it():
    bound = LossBound(ms_max=1_000)
    bound.begin(0)
    assert bound.note(0, 0, True, 0) == (0.0, 0)
    assert bound.wait_ms(*bound.note(0, 50, True, 400)) == 0
    slow = bound.wait_ms(*bound.note(0, 90, True, 1_000))
    slower = bound.wait_ms(*bound.note(0, 90, True, 1_300))
    assert 0 < slow < slower
    assert not bound.reached(*bound.note(0, 90, True, 1_399))
    assert bound.reached(*bound.note(0, 90, True, 1_400))
    assert bound.note(50, 90, True, 1_401)[0] == pytest.approx(401)
    assert bound.note(90, 90, True, 1_402) == (0.0, 0)


def test_bytes_are_bounded_too():
    bound = LossBound(bytes_max=100)
    bound.begin(0)
    bound.note(0, 0, True, 0)
    assert not bound.reached(*bound.note(0, 99, True, 1))
    assert bound.reached(*bound.note(0, 100, True, 1))
    assert not bound.reached(*bound.note(1, 100, True, 1))


def test_a_leader_whose_bytes_nobody_counts_is_at_the_bound_on_bytes():
    bound = LossBound(bytes_max=100)
    bound.begin(0)
    assert bound.reached(*bound.note(-1, 0, False, 1))
    assert not bound.reached(*bound.note(0, 10, True, 2))


def test_a_leader_without_any_follower_reaches_the_bound_in_time():
    bound = LossBound(ms_max=1_000)
    bound.begin(0)
    assert not bound.reached(*bound.note(-1, 0, False, 999))
    assert bound.reached(*bound.note(-1, 0, False, 1_000))
