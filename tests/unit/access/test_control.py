"""Users as clients meet them: AUTH, refusals, changes while they are connected, ACL's commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache_server.config import Config
from cache_server.errors import InputError
from tests.unit.talk import Room, Shell

NO_KEY = b"-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"
NO_CHANNEL = (
    b"-NOPERM this user has no permissions to access one of the channels used as arguments\r\n"
)


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


def user(room: Room, rules: str) -> Shell:
    """A client of a user `u` with these rules."""
    assert room.client().say(f"ACL SETUSER u reset on >pw {rules}") == b"+OK\r\n"
    client = room.client()
    assert client.say("AUTH u pw") == b"+OK\r\n"
    return client


def test_a_user_is_let_in_by_its_password_while_it_is_on(room: Room) -> None:
    admin, client = room.client(), room.client()
    admin.say("ACL SETUSER u >pw")
    assert client.say("AUTH u pw").startswith(b"-WRONGPASS ")
    admin.say("ACL SETUSER u on +acl|whoami")
    assert client.say("AUTH u pw", "ACL WHOAMI") == b"+OK\r\n$1\r\nu\r\n"
    assert client.say("AUTH u other").startswith(b"-WRONGPASS ")
    assert client.say("ACL WHOAMI") == b"$1\r\nu\r\n"
    assert client.say("HELLO 2 AUTH default any", "ACL WHOAMI").endswith(b"$7\r\ndefault\r\n")


def test_refusals_are_redis_words(room: Room) -> None:
    client = user(room, "~a* resetchannels &a* +set +publish +config|get +multi +exec")
    assert client.say("SET a 1") == b"+OK\r\n"
    assert client.say("SET b 1") == NO_KEY
    assert client.say("PUBLISH b x") == NO_CHANNEL
    for request, name in (("GET a", "get"), ("CONFIG SET maxmemory 1", "config|set")):
        assert client.say(request) == (
            f"-NOPERM this user has no permissions to run the '{name}' command\r\n".encode()
        )


def test_a_refusal_spoils_the_transaction(room: Room) -> None:
    client = user(room, "~a +set +multi +exec")
    assert client.say("MULTI", "SET b 1", "EXEC").endswith(
        b"-EXECABORT Transaction discarded because of previous errors.\r\n"
    )


def test_what_was_queued_is_asked_again_at_exec(room: Room) -> None:
    client = user(room, "~* +set +multi +exec")
    assert client.say("MULTI", "SET a 1") == b"+OK\r\n+QUEUED\r\n"
    room.client().say("ACL SETUSER u -set")
    assert client.say("EXEC") == (
        b"*1\r\n-NOPERM ACLs rules changed between the moment the transaction was accumulated and "
        b"the EXEC call. This command is no longer allowed for the following reason: no permission "
        b"to execute the command or subcommand\r\n"
    )


def test_a_blocked_client_is_asked_again_when_it_is_served(room: Room) -> None:
    client, admin = user(room, "~* +blpop"), room.client()
    assert client.say("BLPOP l 0") == b""
    admin.say("ACL SETUSER u resetkeys ~other", "RPUSH l v")
    assert client.take() == NO_KEY
    assert admin.say("LLEN l") == b":1\r\n"


def test_rules_that_change_count_for_the_next_request(room: Room) -> None:
    client, admin = user(room, "~* &* +@all"), room.client()
    assert client.say("GET a") == b"$-1\r\n"
    admin.say("ACL SETUSER u -get")
    assert client.say("GET a").startswith(b"-NOPERM ")
    admin.say("ACL SETUSER default -get")
    assert admin.say("GET a").startswith(b"-NOPERM ")
    admin.say("ACL SETUSER default +get")
    assert admin.say("GET a") == b"$-1\r\n"
    assert admin.say("RESET", "PING") == b"+RESET\r\n+PONG\r\n"


def test_clients_of_a_deleted_user_are_closed(room: Room) -> None:
    client, admin = user(room, "~* +@all"), room.client()
    assert client.say("ACL DELUSER u nobody") == b":1\r\n"
    assert client.closed
    other = user(room, "+@all")
    assert admin.say("ACL DELUSER u") == b":1\r\n"
    assert other.closed
    assert admin.say("ACL DELUSER default").startswith(b"-ERR The 'default' user cannot be")


@pytest.mark.parametrize("subscribe", ["SUBSCRIBE foo:1", "SSUBSCRIBE foo:1", "PSUBSCRIBE foo:1"])
def test_subscribers_that_lose_their_channel_are_closed(room: Room, subscribe: str) -> None:
    client, admin = user(room, "resetchannels &foo:1 &bar:* +@all"), room.client()
    client.say(subscribe)
    admin.say("ACL SETUSER u resetchannels &foo:1 &more")
    assert not client.closed
    admin.say("ACL SETUSER u allchannels")
    assert not client.closed
    admin.say("ACL SETUSER u resetchannels &bar:*")
    assert client.closed


def test_requirepass_is_the_password_of_default(room: Room) -> None:
    admin = room.client()
    admin.say("CONFIG SET requirepass pw")
    waiting = room.client()
    assert waiting.say("PING").startswith(b"-NOAUTH ")
    assert waiting.say("AUTH pw", "PING") == b"+OK\r\n+PONG\r\n"
    waiting = room.client()
    admin.say("CONFIG SET requirepass ''")
    assert waiting.say("PING") == b"+PONG\r\n"
    admin.say("ACL SETUSER default off")
    assert room.client().say("PING").startswith(b"-NOAUTH ")


def test_the_log_counts_like_events_together(room: Room) -> None:
    client, admin = user(room, "~a +set +multi"), room.client()
    client.say("GET a", "GET b", "GET c", "SET b 1")
    client.say("AUTH u wrong")
    entries = admin.say("ACL LOG").split(b"*14\r\n")[1:]
    assert [b"$4\r\nauth" in entries[0], b"$3\r\nkey" in entries[1]] == [True, True]
    assert b"$5\r\ncount\r\n:3\r\n$6\r\nreason\r\n$7\r\ncommand\r\n" in entries[2]
    assert b"user=u" in entries[2]
    assert admin.say("ACL LOG 1").startswith(b"*1\r\n")
    assert admin.say("CONFIG SET acllog-max-len 1", "ACL LOG RESET", "ACL LOG").endswith(b"*0\r\n")
    client.say("GET a", "DEL a")
    assert admin.say("ACL LOG").startswith(b"*1\r\n")


def test_dryrun_tells_what_would_be_refused(room: Room) -> None:
    admin = room.client()
    admin.say("ACL SETUSER u +@all resetchannels %R~read")
    assert admin.say("ACL DRYRUN u GET read") == b"+OK\r\n"
    for request, text in (
        ("GET x", b"This user has no permissions to access the 'x' key"),
        ("PUBLISH x y", b"This user has no permissions to access the 'x' channel"),
    ):
        assert admin.say(f"ACL DRYRUN u {request}") == b"$%d\r\n%b\r\n" % (len(text), text)
    assert admin.say("ACL DRYRUN nobody GET a") == b"-ERR User 'nobody' not found\r\n"
    assert admin.say("ACL DRYRUN u nosuch a") == b"-ERR Command 'nosuch' not found\r\n"
    assert admin.say("ACL DRYRUN u SET a").startswith(b"-ERR wrong number of arguments for 'set'")


def test_client_commands_know_users(room: Room) -> None:
    client, admin = user(room, "+@all"), room.client()
    assert b" user=u " in admin.say("CLIENT LIST")
    assert admin.say("CLIENT KILL USER nobody") == b"-ERR No such user 'nobody'\r\n"
    assert admin.say("CLIENT KILL USER u") == b":1\r\n"
    assert client.closed


def test_small_commands(room: Room) -> None:
    admin = room.client()
    assert admin.say("ACL USERS") == b"*1\r\n$7\r\ndefault\r\n"
    assert admin.say("ACL LIST") == b"*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n"
    assert len(admin.say("ACL GENPASS 5")) == len(b"$2\r\nab\r\n")
    assert len(admin.say("ACL GENPASS")) == len(b"$64\r\n") + 66
    assert admin.say("ACL GENPASS 5000").startswith(b"-ERR ACL GENPASS argument must be")
    assert admin.say("ACL CAT").startswith(b"*21\r\n$8\r\nkeyspace\r\n")
    assert b"\r\nmulti\r\n" in admin.say("ACL CAT transaction")
    assert admin.say("ACL CAT nosuch") == b"-ERR Unknown category 'nosuch'\r\n"
    assert admin.say("ACL GETUSER nobody") == b"$-1\r\n"
    assert admin.say("ACL LOAD").startswith(b"-ERR This Redis instance is not configured to use")
    assert admin.say("ACL SETUSER 'a b' on") == (
        b"-ERR Usernames can't contain spaces or null characters\r\n"
    )
    assert admin.say("ACL SETUSER a (nonsense)") == (
        b"-ERR Error in ACL SETUSER modifier '(nonsense)': Syntax error\r\n"
    )


def test_the_file_is_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "users.acl"
    path.write_text("user alice on >pw ~* &* +@all\n")
    room = Room(aclfile=str(path))
    room.server.access.load_configured()
    client, admin = room.client(), room.client()
    assert client.say("AUTH alice pw", "ACL SETUSER eve on nopass +get") == b"+OK\r\n+OK\r\n"
    assert admin.say("ACL SAVE") == b"+OK\r\n"
    assert path.read_text().count("user ") == 3
    assert client.say("ACL LOAD") == b"+OK\r\n"
    assert client.closed
    assert admin.say("ACL USERS") == b"*3\r\n$5\r\nalice\r\n$7\r\ndefault\r\n$3\r\neve\r\n"
    path.write_text("user alice on\nuser alice off\n")
    assert b"Duplicate user 'alice' found on line 2" in admin.say("ACL LOAD")
    assert admin.say("ACL USERS").startswith(b"*3\r\n")
    path.write_text("nonsense\n")
    with pytest.raises(InputError, match="Aborting Redis startup because of ACL errors"):
        room.server.access.load_configured()
    room.close()


def test_users_of_the_configuration_are_there_and_are_rewritten(tmp_path: Path) -> None:
    file = tmp_path / "redis.conf"
    file.write_text("user default on nopass ~* +@all -flushdb\nuser bob on >pw (+get ~a)\n")
    config = Config()
    config.load(str(file))
    room = Room()
    room.server.config.users, room.server.config.file = config.users, str(file)
    room.server.access.load_configured()
    client = room.client()
    assert client.say("FLUSHDB").startswith(b"-NOPERM ")
    assert client.say("CONFIG REWRITE") == b"+OK\r\n"
    again = Config()
    again.load(str(file))
    assert [words[0] for words in again.users] == ["bob", "default"]
    assert "-flushdb" in again.users[1]
    setattr(room.server.config, "aclfile", "x")  # noqa: B010
    with pytest.raises(InputError, match="please define either an ACL file or declare users"):
        room.server.access.load_configured()
    room.close()


def test_sort_reads_what_its_patterns_name_only_for_who_may_read_all(room: Room) -> None:
    client, admin = user(room, "+sort ~list ~v*"), room.client()
    admin.say("SET v1 1", "RPUSH list 1")
    for option in ("BY", "GET"):
        assert client.say(f"SORT list {option} v*") == (
            f"-ERR {option} option of SORT denied due to insufficient ACL permissions.\r\n".encode()
        )
    assert client.say("SORT list") == b"*1\r\n$1\r\n1\r\n"
    admin.say("ACL SETUSER u (+sort %R~*)")
    assert client.say("SORT list BY v*") == b"*1\r\n$1\r\n1\r\n"
