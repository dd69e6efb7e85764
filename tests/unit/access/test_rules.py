"""One user's rules: what words mean, and that they can be said again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.access.catalogue import CATEGORIES, Catalogue
from cache_server.access.checking import Denial, denial, reads_every_key
from cache_server.access.rules import (
    BAD_HASH,
    CHANNELS_AFTER_ALL,
    FIRST_ARGUMENT,
    KEYS_AFTER_ALL,
    NO_SUCH_PASSWORD,
    SYNTAX,
    UNKNOWN,
    RuleError,
    User,
    merged,
    password_hash,
)
from cache_server.access.users import Users, line, parse
from cache_server.commands import registry
from cache_server.commands.dispatch import Dispatcher
from cache_server.commands.propagation import Propagation
from cache_server.config import Config
from cache_server.config_file import split_words
from cache_server.keyspace.database import Keyspace
from cache_server.server import Server


def _catalogue() -> Catalogue:
    dispatcher = Dispatcher(None, Keyspace(1), Propagation(lambda: None))
    registry.register_all(dispatcher)
    return Catalogue(dispatcher.commands.values())


CATALOGUE = _catalogue()


def user(*rules: bytes) -> User:
    made = User(b"u", CATALOGUE)
    made.apply_all(rules)
    return made


def refused(made: User, *request: bytes) -> Denial | None:
    name = request[0]
    row = CATALOGUE.find(name)
    assert row is not None
    if row.subcommands and len(request) > 1:
        row = CATALOGUE.find(name + b"|" + request[1])
        assert row is not None
    return denial(made, row, list(request))


# -- words and their meaning -----------------------------------------------------------------------


def test_a_new_user_is_off_and_may_do_nothing() -> None:
    made = User(b"u", CATALOGUE)
    assert made.describe() == b"off resetchannels -@all"
    assert not made.knows(b"")
    assert refused(made, b"get", b"k") == Denial("command")
    assert refused(made, b"auth", b"pw") is None


def test_reset_is_a_new_user_whose_payloads_are_checked() -> None:
    assert user(b"on", b">pw", b"~*", b"+@all", b"(+get)", b"reset").describe() == (
        b"off sanitize-payload resetchannels -@all"
    )


def test_passwords_are_kept_as_digests_and_taken_away_by_either() -> None:
    digest = password_hash(b"pw")
    made = user(b"on", b">pw", b">pw", b"#" + password_hash(b"other"))
    assert made.knows(b"pw")
    assert made.knows(b"other")
    assert not made.knows(digest)
    made.apply_all([b"!" + digest, b"<other"])
    assert not made.passwords
    with pytest.raises(RuleError, match=NO_SUCH_PASSWORD):
        made.apply(b"<pw")
    for wrong in (digest[:-1], digest[:-1] + b"q", digest.upper()):
        with pytest.raises(RuleError, match=BAD_HASH):
            made.apply(b"#" + wrong)


def test_nopass_ends_with_the_next_password() -> None:
    assert user(b"on", b"nopass").knows(b"anything")
    assert not user(b"on", b"nopass", b">pw").knows(b"anything")
    assert not user(b"nopass").knows(b"anything")  # off


def test_a_container_takes_its_subcommands_along() -> None:
    made = user(b"+@all", b"-client", b"+client|id", b"+client|setname")
    assert refused(made, b"client", b"id") is None
    assert refused(made, b"client", b"kill", b"x") == Denial("command")
    assert set(made.selectors[0].command_words()) == {
        *(b"+@all", b"-client", b"+client|id", b"+client|setname")
    }


def test_a_first_argument_may_be_all_that_is_allowed() -> None:
    made = user(b"+select|0", b"+select|0", b"+SELECT|1")
    assert refused(made, b"select", b"0") is None
    assert refused(made, b"select", b"2") == Denial("command")
    assert made.selectors[0].command_words() == [b"-@all", b"+select|0", b"+select|1"]
    made.apply_all([b"-select"])
    assert made.selectors[0].command_words() == [b"-@all"]


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_is_said_as_itself(category: str) -> None:
    name = category.encode()
    if not CATALOGUE.categories[name]:
        pytest.skip("no command is in it")
    for first, sign in ((b"+@all", b"-@"), (b"-@all", b"+@")):
        assert user(first, sign + name).selectors[0].command_words() == [first, sign + name]


def test_patterns_name_reading_and_writing_apart() -> None:
    made = user(b"%R~foo", b"%W~foo", b"%RW~bar", b"%r~a", b"%wR~b", b"%RW")
    assert made.selectors[0].key_words() == [b"~foo", b"~bar", b"%R~a", b"~b", b"~"]
    assert user(b"~a", b"~*").selectors[0].key_words() == [b"~*"]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ((b"+nosuch",), UNKNOWN),
        ((b"-nosuch",), UNKNOWN),
        ((b"+@nosuch",), UNKNOWN),
        ((b"+",), UNKNOWN),
        ((b"+config|asdf",), UNKNOWN),
        ((b"+get|a|b",), UNKNOWN),
        ((b"-get|a",), UNKNOWN),
        ((b"+config|get|appendonly",), FIRST_ARGUMENT),
        ((b"+select|",), SYNTAX),
        ((b"~a b",), SYNTAX),
        ((b"&a\0",), SYNTAX),
        ((b"%~a",), SYNTAX),
        ((b"%",), SYNTAX),
        ((b"%RR~a",), SYNTAX),
        ((b"nonsense",), SYNTAX),
        ((b")",), SYNTAX),
        ((b'(~"a)',), SYNTAX),
        ((b"~*", b"~a"), KEYS_AFTER_ALL),
        ((b"&*", b"&a"), CHANNELS_AFTER_ALL),
        ((b"(&* &a)",), CHANNELS_AFTER_ALL),
    ],
)
def test_what_makes_no_sense_is_refused_with_redis_reason(
    rules: tuple[bytes, ...], reason: str
) -> None:
    with pytest.raises(RuleError) as caught:
        user(*rules)
    assert str(caught.value) == reason


def test_selectors_may_come_in_pieces() -> None:
    assert merged([b"(~a", b"+get", b")", b"on", b"()"]) == [b"(~a +get )", b"on", b"()"]
    with pytest.raises(RuleError, match=r"Unmatched parenthesis in acl selector starting at '\('"):
        merged([b"on", b"("])


# -- decisions -------------------------------------------------------------------------------------


def test_a_key_is_read_or_written_as_the_command_does() -> None:
    made = user(b"+@all", b"%R~read*", b"%W~write*", b"%RW~rw*")
    for allowed in (
        (b"get", b"read1"), (b"exists", b"write"), (b"set", b"write", b"v"), (b"strlen", b"write"),
        (b"copy", b"read", b"write"), (b"lpush", b"write", b"v"), (b"set", b"rw", b"v", b"GET"),
        (b"zunion", b"2", b"read", b"read2"), (b"zunion", b"9", b"nothing"), (b"ping",),
    ):  # fmt: skip
        assert refused(made, *allowed) is None, allowed
    for request, position in (
        ((b"get", b"write"), 1), ((b"set", b"read", b"v"), 1), ((b"exists", b"nothing"), 1),
        ((b"copy", b"write", b"read"), 1), ((b"copy", b"read", b"read"), 2),
        ((b"set", b"write", b"v", b"get"), 1), ((b"mget", b"read", b"write"), 2),
        ((b"sintercard", b"2", b"read", b"write"), 3),
    ):  # fmt: skip
        assert refused(made, *request) == Denial("key", position), request


def test_selectors_do_not_add_up() -> None:
    made = user(b"(%R~read* +@all)", b"(%W~write* +@all)")
    assert refused(made, b"get", b"read") is None
    assert refused(made, b"lpush", b"write", b"v") is None
    assert refused(made, b"copy", b"read", b"write") == Denial("key", 2)


def test_the_last_key_that_no_selector_allows_is_told() -> None:
    made = user(b"+mget", b"~key", b"(+mget ~key ~otherkey)")
    assert refused(made, b"get", b"key") == Denial("command")
    assert refused(made, b"mget", b"otherkey", b"some") == Denial("key", 2)
    assert refused(made, b"mget", b"key", b"otherkey", b"some") == Denial("key", 3)


def test_channels_match_patterns_and_patterns_match_word_for_word() -> None:
    made = user(b"+@all", b"&foo:1", b"&bar:*")
    assert refused(made, b"subscribe", b"foo:1", b"bar:2") is None
    assert refused(made, b"psubscribe", b"bar:*") is None
    assert refused(made, b"psubscribe", b"bar:baz") == Denial("channel", 1)
    assert refused(made, b"publish", b"zap", b"text") == Denial("channel", 1)
    assert refused(made, b"ssubscribe", b"foo:1", b"zap") == Denial("channel", 2)
    assert refused(made, b"unsubscribe", b"zap") is None
    assert refused(made, b"sunsubscribe", b"zap") is None


def test_only_who_may_do_everything_is_not_looked_at() -> None:
    assert user(b"+@all", b"~*", b"&*").unrestricted
    assert user(b"(+@all ~* &*)").unrestricted
    assert not user(b"+@all", b"~*", b"&*", b"-flushall").unrestricted
    assert not user(b"+@all", b"~*").unrestricted
    assert not user(b"+@all", b"&*", b"%R~*").unrestricted


def test_reading_every_key_takes_one_selector_that_allows_both() -> None:
    row = CATALOGUE.find(b"get")
    assert row is not None
    request = [b"get", b"k"]
    assert reads_every_key(user(b"+get", b"%R~*"), row, request)
    assert reads_every_key(user(b"+get", b"~*"), row, request)
    assert not reads_every_key(user(b"+get", b"~k", b"%W~*"), row, request)
    assert not reads_every_key(user(b"(+get ~k)", b"(%R~* +set)"), row, request)


# -- saying it again -------------------------------------------------------------------------------

_names = st.sampled_from([row.full_name.encode() for row in CATALOGUE.rows])
_text = st.binary(max_size=6) | st.sampled_from([b"*", b"a", b'"', b")", b"(", b"'", b"\\", b'a")'])
_rule = st.one_of(
    st.sampled_from(
        [
            "on",
            "off",
            "nopass",
            "resetpass",
            "reset",
            "allkeys",
            "resetkeys",
            "allchannels",
            "resetchannels",
            "allcommands",
            "nocommands",
            "sanitize-payload",
            "skip-sanitize-payload",
            "clearselectors",
            "~*",
            "&*",
            "+@all",
            "-@all",
        ]
    ).map(str.encode),
    st.builds(bytes.__add__, st.sampled_from([b"+", b"-"]), _names),
    st.builds(lambda n, t: b"+" + n + b"|" + t, st.sampled_from([b"select", b"get"]), _text),
    st.builds(
        bytes.__add__, st.sampled_from([b"+@", b"-@"]), st.sampled_from(CATEGORIES).map(str.encode)
    ),
    st.builds(
        bytes.__add__,
        st.sampled_from([b"~", b"%R~", b"%W~", b"%RW~", b"&", b">", b"<", b"#", b"!"]),
        _text,
    ),
    _text,
)
_selector = st.lists(_rule, max_size=4).map(lambda rules: b"(" + b" ".join(rules) + b")")


@settings(max_examples=400, deadline=None)
@given(st.lists(_rule | _selector, max_size=8))
def test_rules_are_refused_or_can_be_said_again(rules: list[bytes]) -> None:
    made = User(b"u", CATALOGUE)
    for rule in rules:
        attempt = made.copy()
        try:
            attempt.apply_all([rule])
        except RuleError:
            continue
        made = attempt
    again = User(b"u", CATALOGUE)
    again.apply_all(made.words())
    assert _same(again, made)
    read = parse(line(made) + b"\n", "file", CATALOGUE, all_channels_first=False).by_name[b"u"]
    assert _same(read, made)


def _same(one: User, other: User) -> bool:
    return (
        one.describe() == other.describe()
        and one.decisions == other.decisions
        and len(one.selectors) == len(other.selectors)
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(_rule | _selector, max_size=5))
def test_a_rewritten_configuration_has_the_same_users(rules: list[bytes]) -> None:
    config = Config()
    loop = asyncio.new_event_loop()
    try:
        server = Server(config, loop)
        for rule in rules:
            try:
                server.access.set_user(b'na"me', [rule], None)
            except RuleError:
                continue
        assert config.user_lines is not None
        again = Config()
        for text in config.user_lines():
            again.apply_directive(split_words(text))
        other = Server(again, loop)
        other.access.load_configured()
    finally:
        loop.close()
    assert [line(u) for u in other.access.users.sorted()[1:]] == [
        line(u) for u in server.access.users.sorted()[1:]
    ]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_file_is_refused_with_words_or_read(text: bytes) -> None:
    users = None
    with suppress(RuleError):
        users = parse(text, "file", CATALOGUE, all_channels_first=False)
    assert users is None or users.by_name[b"default"] is users.default


# -- files -----------------------------------------------------------------------------------------


def test_a_file_is_read_whole_or_not_at_all() -> None:
    good = b"user alice on allcommands allkeys &* >alice\n\nuser bob (+get ~rw*) (+set %W~w*)\n"
    users = parse(good, "f", CATALOGUE, all_channels_first=False)
    assert sorted(users.by_name) == [b"alice", b"bob", b"default"]
    assert users.default.unrestricted
    assert parse(users.text(), "f", CATALOGUE, all_channels_first=False).text() == users.text()
    for text, reason in (
        (good + b"user alice on", "WARNING: Duplicate user 'alice' found on line 4. "),
        (b"# no comments", "f:1 should start with user keyword followed by the username. "),
        (b"user a +nosuch", f"f:1: Error in applying operation '+nosuch': {UNKNOWN}. "),
        (b"user a bad1 bad2", f"f:1: {SYNTAX}. "),
        (b"user a (+get", "f:1: Unmatched parenthesis in selector definition."),
    ):
        with pytest.raises(RuleError) as caught:
            parse(text, "f", CATALOGUE, all_channels_first=False)
        assert str(caught.value).startswith(reason)
        assert str(caught.value).endswith(
            "no change to the previously active ACL rules was performed"
        )


def test_new_users_get_the_channels_of_acl_pubsub_default() -> None:
    assert Users(CATALOGUE, True).staged(b"u", []).describe() == b"off &* -@all"
    assert Users(CATALOGUE).staged(b"u", [b"()"]).describe() == (
        b"off resetchannels -@all (resetchannels -@all)"
    )
