"""What is concluded from records."""

from __future__ import annotations

from tests.integration.faults.histories import (
    NEVER,
    Loss,
    Read,
    Write,
    done_though_refused,
    losses,
    lost,
    operations,
    two_leaders,
)
from tests.linearizability import violations


def write(value: str, sent: float, done: float = NEVER, **more: object) -> Write:
    settings = {"acknowledged": done != NEVER, **more}
    return Write("k", value, "c", "n", sent, done, **settings)  # type: ignore[arg-type]


def test_what_was_refused_did_not_happen() -> None:
    refused = write("a", 0, 1, acknowledged=False, refused=True)
    assert "nobody wrote" in violations(operations([refused], [Read("k", "a", "n", 0, 1)]))[0]
    assert list(done_though_refused([refused], {"a"})) != []


def test_a_write_without_an_answer_may_have_happened() -> None:
    seen = [Read("k", "a", "n", 5, 6), Read("k", "b", "n", 7, 8)]
    assert violations(operations([write("a", 0, 1), write("b", 0)], seen)) == []
    assert violations(operations([write("a", 0, 1), write("b", 0)], seen[:1])) == []


def done(value: str, node: str, epoch: int, at_s: float) -> Write:
    return Write("k", value, "c", node, at_s, at_s, True, False, at_s, epoch, node)


def test_two_leaders_at_a_time_are_found_by_the_servers_clock() -> None:
    one_after_the_other = [
        done("a", "n1", 1, 1.0),
        done("b", "n2", 2, 2.0),
        done("c", "n1", 3, 3.0),
    ]
    assert list(two_leaders(one_after_the_other)) == []
    assert "500.000 ms" in next(two_leaders([*one_after_the_other, done("d", "n1", 1, 2.5)]))
    assert "epoch 2" in next(two_leaders([*one_after_the_other, done("d", "n1", 2, 2.5)]))


def test_what_a_leader_took_with_it_is_measured() -> None:
    writes = [done(str(n), "n1", 1, n / 10) for n in range(10)]
    gone = lost(writes, {"0", "1", "2"})
    assert [one.value for one in gone] == list("3456789")
    [loss] = losses(gone, 100)
    assert loss == Loss("n1", 1, 7, loss.ms, 700)
    assert round(loss.ms) == 600
