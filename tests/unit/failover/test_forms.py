"""Messages, INFO and state files: round trips, limits, and any input."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.failover import messages, state
from replication.failover.cluster_view import (
    AcceptorState,
    Address,
    Ballot,
    KnownSentinel,
    LeaseState,
    MasterConfig,
    MasterState,
    RegisterValue,
    SentinelState,
)
from replication.failover.info import parse_info
from replication.failover.messages import Hello, LeaseEpoch, LeaseRenew, MessageError

HERE, THERE = Address("10.0.0.1", 6379), Address("cache.example", 6380)
HELLO = Hello(HERE, "s1", 4, "main", THERE, 3)


def test_hello_has_the_eight_fields_of_redis():
    assert messages.encode_hello(HELLO) == b"10.0.0.1,6379,s1,4,main,cache.example,6380,3"
    assert messages.parse_hello(messages.encode_hello(HELLO)) == HELLO


@given(st.binary(max_size=80) | st.text("0123456789,-. \n", max_size=80).map(str.encode))
def test_any_hello_parses_or_is_refused_with_the_typed_error(payload):
    try:
        hello = messages.parse_hello(payload)
    except MessageError:
        return
    assert messages.parse_hello(messages.encode_hello(hello)) == hello


@pytest.mark.parametrize(
    "value",
    [None, RegisterValue(0, "", HERE), RegisterValue(9, "id", THERE, ("id", "other"))],
)
def test_register_values_survive_the_wire(value):
    assert messages.parse_value(messages.encode_value(value)) == value


@given(st.lists(st.binary(max_size=6) | st.integers(), min_size=5, max_size=5).map(tuple))
def test_any_value_fields_parse_or_are_refused(fields):
    with contextlib.suppress(MessageError):
        messages.parse_value(fields)


@pytest.mark.parametrize(
    "message",
    [
        LeaseRenew("main", "s1", 3, 7, "id", HERE, ""),
        LeaseRenew("main", "s1", 3, 7, "", HERE, "b.0.12.5"),
        LeaseEpoch("main", 7, "id", THERE),
    ],
)
def test_lease_commands_survive_the_wire(message):
    words = message.encode()
    assert words[0] == b"LEASE"
    assert messages.parse_lease(words[1:]) == message


def test_info_is_read_as_redis_writes_it():
    report = parse_info(
        b"# Server\r\nrun_id:" + b"a" * 40 + b"\r\nrole:slave\r\nmaster_host:10.0.0.9\r\n"
        b"master_port:6379\r\nmaster_link_status:down\r\nmaster_link_down_since_seconds:7\r\n"
        b"slave_priority:10\r\nslave_repl_offset:123\r\nreplica_announced:0\r\n"
        b"lease_node_id:n1\r\nlease_epoch:5\r\n"
    )
    assert (report.run_id, report.role) == ("a" * 40, "slave")
    assert (report.master_host, report.master_port, report.link_up) == ("10.0.0.9", 6379, False)
    assert (report.link_down_ms, report.priority, report.repl_offset) == (7_000, 10, 123)
    assert (report.announced, report.node_id, report.lease_epoch) == (False, "n1", 5)


def test_followers_are_read_in_both_forms_and_nonsense_is_passed_over():
    report = parse_info(
        b"role:master\r\nslave0:ip=h1,port=1,state=online,offset=1,lag=0\r\nslave1:h2,2,online\r\n"
        b"slave2:ip=,port=3\r\nslave3:ip=h,port=99999\r\nslave_expires_tracked_keys:0\r\nslavex:1\r\n"
    )
    assert report.followers == (Address("h1", 1), Address("h2", 2))


@given(st.binary(max_size=300) | st.text("slave0123:=,ip\r\nort_h", max_size=200).map(str.encode))
def test_any_info_gives_a_report(raw):
    parse_info(raw)


def full_state():
    config = MasterConfig("main", HERE, 2, 3, 1000, 2000, 1, 0)
    acceptor = AcceptorState(Ballot(9, "s2"), Ballot(8, "s1"), RegisterValue(3, "id", THERE))
    master = MasterState(
        config,
        THERE,
        config_epoch=3,
        vote_epoch=4,
        voted_for="s2",
        acceptor=acceptor,
        register=RegisterValue(3, "id", THERE, ("id",)),
        replicas=(HERE, Address("h", 7)),
        sentinels=(KnownSentinel("s2", Address("10.0.1.2", 26379)),),
    )
    return SentinelState("s1", 4, (master, MasterState(MasterConfig("b", HERE, 1), HERE)))


def test_the_state_files_give_back_what_was_written():
    assert state.decode(state.encode(full_state())) == full_state()
    assert state.decode(state.encode(SentinelState("s1"))) == SentinelState("s1")
    lease = LeaseState("n1", "main", 5, "n2", under_lease=True)
    assert state.decode_lease(state.encode_lease(lease)) == lease
    assert state.decode_lease(state.encode_lease(LeaseState("n1"))) == LeaseState("n1")


def test_every_cut_and_every_flipped_byte_is_refused():
    raw = state.encode(full_state())
    for end in range(len(raw)):
        with pytest.raises(state.StateError):
            state.decode(raw[:end])
    for at in range(len(raw)):
        damaged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(state.StateError):
            state.decode(damaged)


def test_one_kind_of_state_is_not_taken_for_the_other():
    with pytest.raises(state.StateError, match="kind"):
        state.decode(state.encode_lease(LeaseState("n1")))


@given(st.lists(st.lists(st.binary(max_size=5), max_size=6), max_size=6))
def test_a_well_sealed_state_of_nonsense_is_refused_or_read(lines):
    words = [tuple(b.replace(b"\n", b"") for b in line) for line in lines]
    for head, read in (
        (b"cache-sentinel-state 1", state.decode),
        (b"cache-lease-state 1", state.decode_lease),
    ):
        with contextlib.suppress(state.StateError):
            read(state._sealed(head, words))
