"""sentinel.conf: what its lines mean, what is refused, how it is rewritten."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.config_file import split_words
from cache_server.sentinel.config_file import quoted, rewritten
from cache_server.sentinel.settings import Reader, SettingError, Settings, merge
from replication.failover.cluster_view import (
    AcceptorState,
    Address,
    Ballot,
    KnownSentinel,
    MasterState,
    SentinelState,
)

ID = "a" * 40
OTHER = "b" * 40


def read(text: str) -> tuple[Settings, SentinelState]:
    reader = Reader()
    for line in text.splitlines():
        words = split_words(line.strip()) if not line.startswith("#") else []
        if words and words[0] == "sentinel":
            reader.add(words[1:])
    state = reader.finish()
    return reader.settings, state


FULL = f"""\
# kept
port 26379
sentinel down-after-milliseconds m 1500
sentinel monitor m 127.0.0.1 6379 2
sentinel members m 3
sentinel auth-pass m "a b\\"c"
sentinel rename-command m CONFIG guarded
sentinel known-replica m 127.0.0.1 6380
sentinel known-sentinel m 127.0.0.1 26380 {OTHER}
sentinel config-epoch m 7
sentinel leader-epoch m 8
sentinel current-epoch 8
sentinel myid {ID}
"""


def test_lines_may_come_in_any_order() -> None:
    settings, state = read(FULL)
    master = state.masters[0]
    assert state.sentinel_id == ID
    assert state.current_epoch == 8
    assert (master.config.down_after_ms, master.config.members) == (1500, 3)
    assert (master.config_epoch, master.vote_epoch) == (7, 8)
    assert master.replicas == (Address("127.0.0.1", 6380),)
    assert master.sentinels == (KnownSentinel(OTHER, Address("127.0.0.1", 26380)),)
    assert settings.options["m"].auth_pass == 'a b"c'
    assert settings.options["m"].renames == {"config": "guarded"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sentinel monitor m 127.0.0.1 6379 0", "Quorum must be 1 or greater."),
        ("sentinel monitor m localhost 6379 2", "Can't resolve instance hostname."),
        ("sentinel monitor m 127.0.0.1 0 2", "Invalid port number."),
        ("sentinel monitor a,b 127.0.0.1 6379 2", "Invalid master name"),
        ("sentinel down-after-milliseconds x 1000", "No such master with specified name."),
        ("sentinel down-after-milliseconds g 0", "negative or zero time parameter."),
        ("sentinel failover-timeout g -5", "negative or zero time parameter."),
        ("sentinel notification-script g /no/such", "Notification script seems non existing"),
        ("sentinel monitor g 127.0.0.1 1 2", "Duplicate master name."),
        ("sentinel known-replica g 127.0.0.1 9", "Duplicate hostname and port for replica."),
        ("sentinel myid short", "Malformed Sentinel id in myid option."),
        ("sentinel resolve-hostnames maybe", "Please specify yes or no"),
        ("sentinel nonsense", "Unrecognized sentinel configuration statement."),
        ("sentinel monitor g 127.0.0.1", "Unrecognized sentinel configuration statement."),
    ],
)
def test_a_line_that_cannot_be_is_refused_in_redis_words(line: str, reason: str) -> None:
    with pytest.raises(SettingError) as error:
        read("sentinel monitor g 127.0.0.1 9 1\n" + line)
    assert str(error.value).startswith(reason)
    assert " ".join(error.value.words) == line.removeprefix("sentinel ")


def test_a_rewritten_file_says_the_same_and_keeps_what_a_person_wrote() -> None:
    settings, state = read(FULL)
    text = rewritten(FULL, settings, state, [])
    assert text.splitlines()[:4] == FULL.splitlines()[:4]
    assert read(text) == (settings, state)
    assert rewritten(text, settings, state, []) == text


def test_users_go_into_a_rewritten_file() -> None:
    settings, state = read(FULL)
    lines = ["user a on nopass ~* &* +@all", "user default off ~* &* +@all"]
    text = rewritten(FULL, settings, state, lines)
    assert [line for line in text.splitlines() if line.startswith("user ")] == lines
    assert rewritten(text, settings, state, lines) == text


def test_a_rewrite_drops_what_no_longer_holds() -> None:
    settings, state = read(FULL)
    master = replace(state.masters[0], replicas=(), address=Address("127.0.0.1", 6380))
    settings.options["m"].auth_pass = ""
    text = rewritten(FULL, settings, replace(state, masters=(master,)), [])
    assert "known-replica" not in text
    assert "auth-pass" not in text
    assert "sentinel monitor m 127.0.0.1 6380 2" in text


@given(st.text(max_size=30))
def test_a_quoted_word_reads_back(word: str) -> None:
    assert split_words(quoted(word)) == [word]


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_words_are_taken_or_refused_with_the_typed_error(words: list[str]) -> None:
    reader = Reader()
    reader.add(["monitor", "m", "127.0.0.1", "1", "1"])
    reader.add(words)
    with contextlib.suppress(SettingError):
        reader.finish()


def kept(state: SentinelState) -> MasterState:
    return state.masters[0]


def test_promises_in_the_state_file_are_never_weakened_by_the_configuration_file() -> None:
    _, written = read(FULL)
    promised = AcceptorState(promised=Ballot(9, OTHER))
    stored = replace(
        written,
        current_epoch=11,
        masters=(replace(kept(written), vote_epoch=9, voted_for=OTHER, acceptor=promised),),
    )
    merged = merge(written, stored)
    assert merged.current_epoch == 11
    assert (kept(merged).vote_epoch, kept(merged).voted_for) == (9, OTHER)
    assert kept(merged).acceptor == promised


def test_a_vote_of_the_configuration_file_newer_than_ours_was_given_to_somebody_unknown() -> None:
    _, written = read(FULL)
    stored = replace(written, masters=(replace(kept(written), vote_epoch=3, voted_for=OTHER),))
    assert (kept(merge(written, stored)).vote_epoch, kept(merge(written, stored)).voted_for) == (
        8,
        "",
    )


def test_the_newer_address_of_the_leader_counts_and_a_person_may_edit_it() -> None:
    _, written = read(FULL)
    moved = replace(kept(written), address=Address("127.0.0.1", 6399), config_epoch=9)
    assert kept(merge(written, replace(written, masters=(moved,)))).address.port == 6399
    edited = replace(kept(written), address=Address("127.0.0.1", 6399))
    assert kept(merge(written, replace(written, masters=(edited,)))).address.port == 6379


def test_without_a_state_file_the_configuration_file_counts() -> None:
    _, written = read(FULL)
    assert merge(written, None) == written
