"""Register and lease in an external store: a store in memory, time in the test's hand."""

import contextlib
import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.failover import constants
from replication.failover.actions import AskStore, Lead, PersistLease, Reply, Yield
from replication.failover.cluster_view import Address, LeaseState, RegisterValue
from replication.failover.coordinator import LostRace, Unreachable, Won
from replication.failover.events import (
    LeaseAsked,
    LeaseGivenUp,
    LeaseTakenBack,
    StoreAnswered,
    WireError,
)
from replication.failover.lease import ALWAYS_MS, LeaderLease, stretched_ms
from replication.failover.messages import LeaseEpoch, LeaseRead, LeaseRenew, MessageError
from replication.failover.stored_lease import StoredLease
from replication.failover.stored_register import StoredRegister
from replication.failover.stores import (
    CELL_BYTES_MAX,
    Cell,
    Cells,
    Conflict,
    Hold,
    LeaseRecord,
    Read,
    Which,
    Write,
    Written,
    decode_lease,
    decode_register,
    encode_lease,
    encode_register,
)

TTL = 1000
PLACES = {"a": Address("h", 1), "b": Address("h", 2), "c": Address("h", 3)}


def value(epoch, leader, life="life-" + "x" * 3):
    return RegisterValue(epoch, leader, PLACES[leader], life=life)


class Store:
    """One master's cells, linearizable."""

    def __init__(self):
        self.cells = {Which.REGISTER: Cell(), Which.LEASE: Cell()}
        self.versions = 0
        self.away = False

    def both(self):
        return Cells(self.cells[Which.REGISTER], self.cells[Which.LEASE])

    def carry_out(self, ask):
        if self.away:
            return Unreachable("away")
        if isinstance(ask, Read):
            return self.both()
        assert isinstance(ask, Write)
        lease = self.cells[Which.LEASE].version
        matches = ask.register_version == self.cells[Which.REGISTER].version
        if not matches or ask.lease_version not in (None, lease):
            return Conflict(self.both())
        self.versions += 1
        self.cells[ask.which] = Cell(ask.value, self.versions)
        return Written(self.versions)


class Sentinel:
    """A register at a store that answers at once."""

    def __init__(self, store):
        self.store, self.register = store, StoredRegister("main")

    def settle(self, now):
        while (ask := self.register.take_ask()) is not None:
            self.register.receive(ask, self.store.carry_out(ask), now)

    def tick(self, now):
        self.register.tick(now, 100)
        self.settle(now)

    def change(self, expected, wanted, now, patience=10_000):
        self.register.change(expected, wanted, patience, now)
        self.settle(now)
        return self.register.take_result()


class Node:
    """A data node's lease at a store that answers at once."""

    def __init__(self, store, name="a", leading=True, state=None, boot="life-xxx"):
        self.store, self.name = store, name
        self.lease = StoredLease(state or LeaseState(name), boot, leading, TTL)
        self.actions, self.replies = [], []

    def hear(self, event, now):
        self.lease.receive(event, now)
        self.settle(now)

    def settle(self, now):
        while actions := self.lease.take_actions():
            for one in actions:
                if isinstance(one, AskStore):
                    outcome = self.store.carry_out(one.ask)
                    self.lease.receive(StoreAnswered(one.tag, outcome), now)
                elif isinstance(one, Reply):
                    self.replies.append(one.value)
                else:
                    self.actions.append(one)

    def tick(self, now):
        self.lease.tick(now)
        self.settle(now)

    def run(self, begin, end):
        for now in range(begin, end, 50):
            self.tick(now)

    def ask(self, message, now):
        self.hear(LeaseAsked(1, message.encode()[1:]), now)
        return self.replies[-1]

    def poll(self, now, epoch=1, leader="a", stored=True):
        place = PLACES[leader]
        return self.ask(LeaseRenew("main", "s1", 3, epoch, leader, place, "", stored=stored), now)


def led_store(now=0):
    """A store in which `a` leads epoch 1 and holds the lease."""
    store = Store()
    assert Sentinel(store).change(None, value(1, "a"), now) == Won(value(1, "a"))
    node = Node(store)
    node.poll(now)
    node.run(now, now + 200)
    assert node.lease.state.under_lease
    return store, node


# The register.


def test_the_first_value_is_written_at_once():
    store = Store()
    assert Sentinel(store).change(None, value(1, "a"), 0) == Won(value(1, "a"))
    assert decode_register(store.cells[Which.REGISTER].value) == value(1, "a")


def test_of_two_the_second_loses_and_is_told_what_won():
    store = Store()
    first, second = Sentinel(store), Sentinel(store)
    second.tick(0)
    first.change(None, value(1, "a"), 0)
    assert second.change(None, value(2, "b"), 0) == LostRace(value(1, "a"))


def test_a_change_that_happened_already_is_won():
    store = Store()
    Sentinel(store).change(None, value(1, "a"), 0)
    assert Sentinel(store).change(None, value(1, "a"), 0) == Won(value(1, "a"))


def test_a_store_out_of_reach_is_no_lost_race():
    store = Store()
    sentinel = Sentinel(store)
    store.away = True
    assert sentinel.change(None, value(1, "a"), 0, patience=1_000) is None
    for now in range(0, 1_001, 50):
        sentinel.tick(now)
    assert sentinel.register.take_result() == Unreachable("away")
    assert sentinel.register.trouble == "away"
    store.away = False
    sentinel.tick(1_200)
    assert sentinel.register.trouble == ""


def test_a_write_whose_answer_was_lost_is_found_to_be_won():
    store = Store()
    sentinel = Sentinel(store)
    sentinel.tick(0)
    sentinel.register.change(None, value(1, "a"), 1_000, 0)
    ask = sentinel.register.take_ask()
    assert isinstance(store.carry_out(ask), Written)
    sentinel.register.receive(ask, Unreachable("the link broke"), 0)
    sentinel.tick(constants.STORE_RETRY_MS)
    assert sentinel.register.take_result() == Won(value(1, "a"))


def test_another_leader_is_written_only_after_the_lease_has_run_out():
    store, node = led_store()
    sentinel = Sentinel(store)
    last = node.lease.writes_until_ms
    assert sentinel.change(value(1, "a"), value(2, "b"), 200) is None
    result, now = None, 200
    while result is None:
        now += 10
        sentinel.tick(now)
        result = sentinel.register.take_result()
    assert result == Won(value(2, "b"))
    assert now >= 200 + stretched_ms(TTL) > last


def test_a_leader_that_renews_is_barred_and_then_replaced():
    store, node = led_store()
    sentinel = Sentinel(store)
    sentinel.change(value(1, "a"), value(2, "b"), 200)
    result, now = None, 200
    while result is None and now < 3_000:
        now += 10
        sentinel.tick(now)
        node.tick(now)
        result = sentinel.register.take_result()
        assert result is None or now >= node.lease.writes_until_ms
    assert result == Won(value(2, "b"))
    node.run(now, now + 1_000)
    assert Yield(2, PLACES["b"]) in node.actions
    assert not node.lease.writable(now + 1_000)


def test_a_barred_leader_goes_on_when_nothing_comes_of_it():
    store, node = led_store()
    sentinel = Sentinel(store)
    sentinel.change(value(1, "a"), value(2, "b"), 200)
    sentinel.register.cancel()
    node.run(200, 1_400)
    assert not node.lease.writable(1_400)
    node.run(1_400, 200 + constants.BARRED_TTLS * TTL + 500)
    assert node.lease.writable(200 + constants.BARRED_TTLS * TTL + 500)


def test_a_lease_given_back_lets_the_next_lead_at_once():
    store, node = led_store()
    node.hear(LeaseGivenUp(PLACES["b"]), 300)
    assert not node.lease.writable(300)
    assert node.poll(310)[3] == b"released"
    assert Sentinel(store).change(value(1, "a"), value(2, "b"), 320) == Won(value(2, "b"))


def test_a_lease_taken_back_is_renewed_again():
    _, node = led_store()
    node.hear(LeaseGivenUp(PLACES["b"]), 300)
    node.hear(LeaseTakenBack(), 400)
    node.run(400, 800)
    assert node.lease.writable(800)


def test_an_answer_to_the_giving_back_grants_nothing():
    store, node = led_store()
    node.lease.receive(LeaseGivenUp(PLACES["b"]), 300)
    (ask,) = (one for one in node.lease.take_actions() if isinstance(one, AskStore))
    node.lease.receive(LeaseTakenBack(), 310)
    node.lease.receive(StoreAnswered(ask.tag, store.carry_out(ask.ask)), 320)
    assert not node.lease.writable(320)


def test_the_in_sync_set_changes_while_the_lease_goes_on():
    store, node = led_store()
    wider = RegisterValue(1, "a", PLACES["a"], ("a.1", "b.1"), 1, "life-xxx")
    assert Sentinel(store).change(value(1, "a"), wider, 200) == Won(wider)
    node.run(200, 600)
    assert node.lease.register == (1, 1, ("a.1", "b.1"))
    assert node.lease.writes_until_ms > 1_200


# The lease.


def test_a_node_writes_freely_until_the_store_lends_to_it():
    store = Store()
    node = Node(store)
    node.poll(0)
    node.run(0, 1_000)
    assert node.lease.writes_until_ms == ALWAYS_MS


def test_the_lease_counts_from_the_sending_not_from_the_answer():
    store, node = led_store()
    node.lease.tick(10_000)
    (ask,) = node.lease.take_actions()
    outcome = store.carry_out(ask.ask)
    node.lease.receive(StoreAnswered(ask.tag, outcome), 10_900)
    assert node.lease.writes_until_ms == 10_000 + TTL


def test_a_leader_that_cannot_reach_the_store_stops_and_goes_on_when_it_can():
    store, node = led_store()
    store.away = True
    node.run(200, 1_300)
    assert not node.lease.writable(1_300)
    assert node.lease.trouble == "away"
    store.away = False
    node.run(1_300, 1_700)
    assert node.lease.writable(1_700)
    assert node.lease.trouble == ""


def test_permission_to_write_rests_on_durable_state():
    _, node = led_store()
    persisted = [one.state.under_lease for one in node.actions if isinstance(one, PersistLease)]
    assert persisted == [False, True]


def test_a_follower_named_in_the_store_leads_though_no_sentinel_tells_it():
    store, _ = led_store()
    heir = Node(store, "b", leading=False, state=LeaseState("b", "main", 1, "a", True))
    for now in range(200, 4_000, 50):
        sentinel = Sentinel(store)
        sentinel.register.change(value(1, "a"), value(2, "b"), 1_000, 0)
        if now == 200:
            keep = sentinel
        keep.register.change(value(1, "a"), value(2, "b"), 10_000, now)
        keep.settle(now)
        heir.tick(now)
    assert Lead(2) in heir.actions
    assert heir.lease.writable(3_900)


def test_a_leader_that_restarted_is_no_leader_until_named_anew():
    store, node = led_store()
    again = Node(store, state=node.lease.state, boot="other-life")
    again.run(200, 2_000)
    assert not again.lease.writable(2_000)
    assert again.poll(2_000)[3] == b"restarted"
    renewed = value(2, "a", "other-li")
    assert Sentinel(store).change(value(1, "a"), renewed, 2_000) == Won(renewed)
    again.ask(LeaseRead("main"), 2_000)
    again.run(2_000, 2_600)
    assert again.lease.writable(2_600)


def test_a_store_that_went_back_in_time_lends_to_nobody():
    store, node = led_store()
    old = store.cells[Which.REGISTER]
    node.lease.state = LeaseState("a", "main", 5, "a", True)
    store.cells[Which.REGISTER] = Cell(old.value, 99)
    node.run(2_000, 4_000)
    assert not node.lease.writable(4_000)


def test_sentinels_and_nodes_of_different_coordinators_refuse_each_other():
    _, node = led_store()
    assert isinstance(node.poll(200, stored=False), WireError)
    epoch = LeaseEpoch("main", 9, "b", PLACES["b"])
    assert isinstance(node.ask(epoch, 200), WireError)
    assert node.lease.state.epoch == 1
    plain = LeaderLease(LeaseState("a"), "b1", True)
    for message in (
        LeaseRead("main"),
        LeaseRenew("main", "s", 3, 1, "a", PLACES["a"], "", stored=True),
    ):
        plain.receive(LeaseAsked(1, message.encode()[1:]), 0)
        (reply,) = plain.take_actions()
        assert isinstance(reply.value, WireError)


# Bad input.


@pytest.mark.parametrize("raw", [b"x", b"cache-register 2 1", b"\xff" * 10, b" " * 40])
def test_a_register_cell_of_nonsense_is_told_and_nothing_is_written(raw):
    store, node = led_store()
    store.versions += 1
    store.cells[Which.REGISTER] = Cell(raw, store.versions)
    before = store.both()
    result = Sentinel(store).change(value(1, "a"), value(2, "b"), 200)
    assert isinstance(result, Unreachable)
    node.run(200, 3_000)
    assert store.both() == before
    assert not node.lease.writable(3_000)
    assert node.lease.trouble


@given(st.binary(max_size=200))
def test_any_cell_is_read_or_refused(raw):
    for read in (decode_register, decode_lease):
        for head in (b"", b"cache-register 1 ", b"cache-lease 1 "):
            with contextlib.suppress(MessageError):
                read(head + raw)


def test_a_cell_too_large_is_refused():
    for read in (decode_register, decode_lease):
        with pytest.raises(MessageError, match="too large"):
            read(b"cache-lease 1 " + b"x" * CELL_BYTES_MAX)


def test_records_survive_the_store():
    record = LeaseRecord(Hold.BARRED, 7, "a", "life", 600, 3)
    assert decode_lease(encode_lease(record)) == record
    assert decode_register(encode_register(value(3, "b"))) == value(3, "b")
    assert decode_lease(b"") is None
    assert decode_register(b"") is None


# Whatever happens.


class World:
    """Nodes and sentinels with clocks of their own, messages that take their time or get lost."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.store, self.now, self.queue, self.count = Store(), 0.0, [], 0
        self.rates = {}
        self.nodes = {name: Node(self.store, name, name == "a") for name in PLACES}
        self.sentinels = [StoredRegister("main") for _ in range(2)]
        self.leaders = []

    def clock(self, who):
        rate = self.rates.setdefault(id(who), 1 + self.chance.uniform(-0.004, 0.004))
        return 5_000 * rate + self.now * rate

    def later(self, ms, act):
        self.count += 1
        heapq.heappush(self.queue, (self.now + ms, self.count, act))

    def send(self, ask, answer):
        """To the store and back; either half may be slow or lost, and a lost one is told late."""
        chance = self.chance
        delay = 2_000 if chance.random() < 0.05 else chance.uniform(0, 150)

        def arrive():
            outcome = self.store.carry_out(ask)
            lost = chance.random() < 0.1
            back = chance.uniform(0, 100)
            self.later(back, lambda: answer(Unreachable("lost") if lost else outcome))

        if chance.random() < 0.05:
            self.later(300, lambda: answer(Unreachable("lost")))
        else:
            self.later(delay, arrive)

    def step_node(self, node):
        lease = node.lease
        for one in lease.take_actions():
            if isinstance(one, AskStore):

                def answer(outcome, tag=one.tag):
                    lease.receive(StoreAnswered(tag, outcome), self.clock(node))
                    self.step_node(node)

                self.send(one.ask, answer)
            elif isinstance(one, Lead | Yield):
                lease.leading = isinstance(one, Lead)

    def step_sentinel(self, register):
        if (ask := register.take_ask()) is not None:

            def answer(outcome):
                register.receive(ask, outcome, self.clock(register))
                self.step_sentinel(register)

            self.send(ask, answer)
        register.take_result()

    def tick(self):
        for node in self.nodes.values():
            if self.chance.random() > 0.02:
                node.lease.tick(self.clock(node))
                self.step_node(node)
        for register in self.sentinels:
            now, known = self.clock(register), register.value
            if not register.changing and self.chance.random() < 0.02:
                leader = self.chance.choice("abc")
                wanted = value((known.epoch if known else 0) + 1, leader)
                register.change(known, wanted, self.chance.uniform(100, 6_000), now)
            register.tick(now, 150)
            self.step_sentinel(register)
        self.later(50, self.tick)

    def check(self):
        writers = [
            name
            for name, node in self.nodes.items()
            if node.lease.state.under_lease and node.lease.writable(self.clock(node))
        ]
        assert len(writers) <= 1, (self.now, writers)
        if writers and writers[0] not in self.leaders[-1:]:
            self.leaders += writers

    def run(self, until_ms):
        for node in self.nodes.values():
            self.later(0, lambda node=node: node.ask(LeaseRead("main"), self.clock(node)))
        self.later(0, self.tick)
        while self.now < until_ms:
            self.now, _, act = heapq.heappop(self.queue)
            act()
            self.check()


@settings(max_examples=15)
@given(st.integers(0, 1 << 32))
def test_never_two_writers_whatever_is_slow_or_lost(seed):
    World(seed).run(40_000)


def test_the_world_changes_leaders_at_all():
    changes = 0
    for seed in range(5):
        world = World(seed)
        world.run(40_000)
        changes += len(world.leaders)
    assert changes >= 10


def test_a_rule_taken_out_is_found(monkeypatch):
    """Without the wait for the lease, the same worlds have two writers."""
    monkeypatch.setattr(StoredRegister, "over_ms", lambda *_: 0.0)

    def all_worlds():
        for seed in range(20):
            World(seed).run(40_000)

    with pytest.raises(AssertionError):
        all_worlds()
