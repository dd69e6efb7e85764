"""Ending the server: signals, SHUTDOWN's words, and what a refusal leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.talk import Room


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    room = Room(save="")
    monkeypatch.setattr(room.server.persistence, "save_before_exit", Saving(room))
    yield room
    room.close()


class Saving:
    """Stands for saving: notes what it was asked, and says what the test wants."""

    def __init__(self, room: Room) -> None:
        self.result = True
        self.asked: list[tuple[bool, bool]] = []

    def __call__(self, wanted: bool, refused: bool) -> bool:
        self.asked.append((wanted, refused))
        return self.result


def saving(room: Room) -> Any:
    return room.server.persistence.save_before_exit


def test_shutdown_ends_the_server_without_a_reply(room: Room) -> None:
    assert room.client().say("SHUTDOWN NOSAVE") == b""
    assert room.server.finished.result() == 0
    assert saving(room).asked == [(False, True)]


def test_a_shutdown_that_cannot_save_is_refused(room: Room) -> None:
    saving(room).result = False
    client = room.client()
    reply = client.say("SHUTDOWN SAVE", "ECHO on")
    assert reply == b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n$2\r\non\r\n"
    assert not room.server.finished.done()


def test_force_ends_the_server_though_it_cannot_save(room: Room) -> None:
    saving(room).result = False
    room.client().say("SHUTDOWN SAVE FORCE")
    assert room.server.finished.done()


@pytest.mark.parametrize("words", ["NOPE", "SAVE NOSAVE", "ABORT NOW"])
def test_words_that_contradict_are_a_syntax_error(room: Room, words: str) -> None:
    assert room.client().say(f"SHUTDOWN {words}") == b"-ERR syntax error\r\n"


def test_abort_without_a_shutdown_is_an_error(room: Room) -> None:
    assert room.client().say("SHUTDOWN ABORT") == b"-ERR No shutdown in progress.\r\n"


def test_a_signal_is_carried_out_with_the_settings_words(room: Room) -> None:
    room.client().say('CONFIG SET shutdown-on-sigterm "nosave force"')
    room.server.signalled("SIGTERM")
    assert room.server.finished.done()
    assert saving(room).asked == [(False, True)]


def test_a_signal_can_be_aborted_before_it_is_carried_out(room: Room) -> None:
    room.server.cron_paused = True
    room.server.signalled("SIGTERM")
    assert room.client().say("SHUTDOWN ABORT") == b"+OK\r\n"
    room.server.shutdown.carry_out()
    assert not room.server.finished.done()


def test_shutdown_is_no_part_of_a_transaction(room: Room) -> None:
    reply = room.client().say("MULTI", "SHUTDOWN", "EXEC")
    assert b"-ERR Command not allowed inside a transaction\r\n" in reply
    assert not room.server.finished.done()
