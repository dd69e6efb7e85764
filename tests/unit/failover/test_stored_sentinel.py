"""A whole sentinel whose register is in an external store: what it asks, says and refuses."""

import random

from replication.failover import constants
from replication.failover.actions import AskStore, Reply
from replication.failover.cluster_view import (
    Address,
    MasterConfig,
    MasterState,
    RegisterValue,
    SentinelState,
)
from replication.failover.coordinator import Unreachable
from replication.failover.events import ExplainAsked, RegisterAsked, StoreAnswered, WireError
from replication.failover.messages import encode_value
from replication.failover.sentinel import SentinelMachine
from replication.failover.stores import Cell, Cells, Read, encode_register

PLACE = Address("10.0.0.1", 6379)
VALUE = RegisterValue(3, "n1", PLACE, life="l")


class Sentinel:
    def __init__(self):
        master = MasterState(MasterConfig("main", PLACE, 2), PLACE)
        state = SentinelState("s1", 0, (master,))
        here = Address("10.0.1.1", 26379)
        self.machine = SentinelMachine(
            state, here, random.Random(1), 0.0, coordinator="etcd://h:1/c"
        )
        self.now, self.asks, self.replies = 0.0, [], []

    def settle(self):
        for action in self.machine.take_actions():
            if isinstance(action, AskStore):
                self.asks.append(action)
            elif isinstance(action, Reply):
                self.replies.append(action.value)

    def tick(self, ms=constants.TICK_MS):
        self.now += ms
        self.machine.tick(self.now)
        self.settle()

    def hear(self, event):
        self.machine.receive(event, self.now)
        self.settle()

    def answer(self, outcome):
        self.hear(StoreAnswered(self.asks.pop(0).tag, outcome))

    def explained(self):
        self.hear(ExplainAsked(1, "main"))
        return [line.decode() for line in self.replies[-1]]

    @property
    def master(self):
        return self.machine.view(self.now).master("main")


def holding(value, version=4):
    return Cells(Cell(encode_register(value), version), Cell())


def test_it_reads_the_store_one_question_at_a_time_and_believes_it():
    sentinel = Sentinel()
    sentinel.tick()
    assert [one.ask for one in sentinel.asks] == [Read("main")]
    sentinel.tick()
    assert len(sentinel.asks) == 1
    sentinel.answer(holding(VALUE))
    assert sentinel.master.register == VALUE
    assert sentinel.machine.view(0).current_epoch == 3


def test_a_store_out_of_reach_is_named_in_the_view_and_explained():
    sentinel = Sentinel()
    assert sentinel.explained()[1] == "coordinator: etcd://h:1/c, it answers"
    sentinel.tick()
    sentinel.answer(Unreachable("timed out"))
    sentinel.tick(40)
    assert sentinel.master.coordinator == "etcd://h:1/c"
    assert sentinel.master.coordinator_trouble == "out of reach for 40 ms: timed out"
    assert "out of reach for 40 ms: timed out" in sentinel.explained()[1]


def test_a_store_that_lost_the_register_is_explained():
    sentinel = Sentinel()
    sentinel.tick()
    sentinel.answer(holding(VALUE))
    for cells, words in (
        (Cells(Cell(), Cell()), "it was emptied"),
        (holding(RegisterValue(2, "n1", PLACE), 9), "it was restored"),
    ):
        sentinel.tick(constants.STORE_READ_MS)
        sentinel.answer(cells)
        assert words in sentinel.master.coordinator_trouble
        assert sentinel.master.register == VALUE


def test_what_a_peer_tells_is_a_hint_to_read_and_no_more():
    sentinel = Sentinel()
    sentinel.tick()
    sentinel.answer(holding(VALUE))
    newer = RegisterValue(9, "n2", Address("10.0.0.2", 6379))
    sentinel.hear(RegisterAsked(1, (b"LEARN", b"main", *encode_value(newer))))
    assert sentinel.replies == [b"OK"]
    assert sentinel.master.register == VALUE
    sentinel.tick()
    assert [one.ask for one in sentinel.asks] == [Read("main")]


def test_it_takes_no_part_in_the_embedded_register():
    sentinel = Sentinel()
    sentinel.hear(RegisterAsked(1, (b"PREPARE", b"main", b"1", b"s2")))
    assert isinstance(sentinel.replies[-1], WireError)
    assert "external store" in sentinel.replies[-1].text
    sentinel.hear(RegisterAsked(1, (b"GET", b"main")))
    assert sentinel.replies[-1] == (b"VALUE", *encode_value(None))


def test_an_answer_that_nobody_waits_for_is_dropped():
    sentinel = Sentinel()
    sentinel.hear(StoreAnswered(99, Unreachable("late")))
    assert sentinel.master.coordinator_trouble == ""
