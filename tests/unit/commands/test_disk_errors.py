"""While the data cannot be saved: writes are refused, and PING tells monitors so."""

from __future__ import annotations

from tests.unit.talk import Room


def test_writes_and_ping_are_refused_and_reads_are_answered() -> None:
    room = Room()
    server = room.server
    server.config.save = [(1, 1)]
    server.persistence.last_save_ok = False
    server.disk_failing(True)
    client = room.client()
    assert client.say("SET k v").startswith(b"-MISCONF")
    assert client.say("PING").startswith(b"-MISCONF")
    assert client.say("GET k") == b"$-1\r\n"
    server.persistence.last_save_ok = True
    server.disk_failing(False)
    assert client.say("PING") == b"+PONG\r\n"
    room.close()
