"""Settings, configuration files, CONFIG SET and REWRITE; any words give a value or a
ConfigError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.config import Config, ConfigError, ConfigFileError
from cache_server.config_file import SIGNATURE, FileReader, Rewriter, split_words
from cache_server.config_kinds import format_memory, parse_memory, quote
from cache_server.config_settings import SETTINGS
from cache_server.errors import InputError

WORDS = st.lists(
    st.text(max_size=12) | st.sampled_from(["yes", "no", "10mb", "0", "-1", "50%", ""]), max_size=5
)


def load(text: str) -> Config:
    config = Config()
    config.load(options=text)
    return config


def test_the_last_of_a_repeated_setting_counts_and_aliases_are_the_setting() -> None:
    config = load("port 1\nport 2\nslave-priority 7\nmin-slaves-to-write 3")
    assert (config.port, config.replica_priority, config.min_replicas_to_write) == (2, 7, 3)


def test_save_lines_add_up_and_replace_the_defaults() -> None:
    assert load("save 900 1\nsave 300 10").save == [(900, 1), (300, 10)]
    assert load('save ""').save == []
    assert load('save 900 1\nsave ""').save == []
    assert load("save 900 1 300 10").save == [(900, 1), (300, 10)]
    assert len(load("").save) == 3


def test_quotes_and_escapes_are_those_of_inline_requests() -> None:
    assert load('requirepass "a \\x41\\n"').requirepass == "a A\n"
    assert load("requirepass 'it\\'s'").requirepass == "it's"


def test_output_limits_name_some_classes_and_keep_the_rest() -> None:
    limits = load("client-output-buffer-limit replica 1mb 512kb 30").client_output_buffer_limit
    assert limits["slave"] == (1024**2, 512 * 1024, 30)
    assert limits["pubsub"] == (32 * 1024**2, 8 * 1024**2, 60)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("port abc", "argument couldn't be parsed into an integer"),
        ("port 70000", "argument must be between 0 and 65535 inclusive"),
        ("appendonly maybe", "argument must be 'yes' or 'no'"),
        ("maxmemory 10xb", "argument must be a memory value"),
        ("maxmemory-clients 200%", "percentage argument must be less or equal to 100"),
        ("repl-diskless-load x", "must be one of the following: disabled, on-empty-db, swapdb"),
        ("unixsocketperm 999", "argument couldn't be parsed as an octal number"),
        ("replicaof a", "wrong number of arguments"),
        ("replicaof a b", "Invalid master port"),
        ("save 1", "Invalid save parameters"),
        ("save 0 1", "Invalid save parameters"),
        ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("notify-keyspace-events Q", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."),
        ("requirepass \"a", "Unbalanced quotes in configuration line"),
        ("nosuch 1", "Bad directive or wrong number of arguments"),
        ("shutdown-on-sigterm save nosave", "SAVE and NOSAVE can't be used simultaneously"),
        ("sentinel monitor a b", "sentinel directive while not in sentinel mode"),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_with_its_number_and_reason(line: str, reason: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        load(f"# comment\n\nhz 10\n  {line}  \n")
    report = caught.value.report
    assert report.startswith("\n*** FATAL CONFIG FILE ERROR (Redis ")
    assert "Reading the configuration file, at line 4 of the command line\n" in report
    assert f">>> '{line}'\n" in report
    assert report.endswith(f"{reason}\n")


def test_includes_are_read_where_they_stand_and_name_their_file(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("port 2\nhz 20\n")
    (tmp_path / "main.conf").write_text(f"port 1\ninclude {tmp_path}/more.conf\nport 3\n")
    config = Config()
    config.load(str(tmp_path / "main.conf"))
    assert (config.port, config.hz) == (3, 20)
    (tmp_path / "more.conf").write_text("hz\n")
    with pytest.raises(ConfigFileError, match=r"more.conf:1: wrong number"):
        Config().load(str(tmp_path / "main.conf"))


def test_an_include_pattern_may_match_nothing_but_a_missing_file_is_an_error(
    tmp_path: Path,
) -> None:
    load(f"include {tmp_path}/*.conf")
    with pytest.raises(InputError, match="can't open config file"):
        load(f"include {tmp_path}/missing.conf")


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.conf"
    path.write_text(f"include {path}\n")
    with pytest.raises(ConfigFileError, match="nested deeper"):
        Config().load(str(path))


def test_config_set_changes_all_or_nothing_and_undoes_hooks() -> None:
    config = Config()
    seen: list[Any] = []
    config.on_change["maxmemory"] = seen.append

    def refuse(_: Any) -> None:
        raise ConfigError("Unable to listen on this port. Check server logs.")

    config.on_change["port"] = refuse
    config.on_change.pop("port")
    config.set([("maxmemory", "1mb"), ("hz", "20")], protected_allowed=False)
    assert (config.maxmemory, config.hz, seen) == (1024**2, 20, [1024**2])
    calls = iter([ConfigError("Unable to listen on this port. Check server logs."), None])

    def refuse_once(_: Any) -> None:
        error = next(calls)
        if error is not None:
            raise error

    config.on_change["port"] = refuse_once
    with pytest.raises(ConfigError, match=r"related to argument 'port'\) - Unable to listen"):
        config.set([("maxmemory", "2mb"), ("port", "1")], protected_allowed=False)
    assert (config.maxmemory, config.port) == (1024**2, 6379)
    assert seen == [1024**2, 2 * 1024**2, 1024**2]


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([("nosuch", "1")], "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        ([("daemonize", "yes")], "argument 'daemonize') - can't set immutable config"),
        ([("coordinator", "x")], "argument 'coordinator') - can't set immutable config"),
        ([("dir", "/")], "argument 'dir') - can't set protected config"),
        ([("hz", "1"), ("hz", "2")], "argument 'hz') - duplicate parameter"),
        ([("hz", "20"), ("maxmemory", "x")], "'maxmemory') - argument must be a memory value"),
    ],
)
def test_config_set_refuses_in_redis_words(pairs: list[tuple[str, str]], text: str) -> None:
    config = Config()
    with pytest.raises(ConfigError) as caught:
        config.set(pairs, protected_allowed=False)
    assert text in str(caught.value)
    assert config.hz == 10


def test_what_config_get_shows_of_a_setting_of_ours_can_be_set() -> None:
    config = Config()
    config.set([("coordinator", config.show("coordinator"))], protected_allowed=False)


def test_a_rewrite_keeps_comments_replaces_lines_and_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("# mine\nport 7000\n\n\nslave-priority 5\nsave 900 1\nsave 300 10\nuser a on\n")
    config = Config()
    config.load(str(path))
    config.set(
        [("port", "7001"), ("save", "60 5"), ("requirepass", 'a "b"')], protected_allowed=False
    )
    config.rewrite()
    text = path.read_text()
    assert text.startswith("# mine\nport 7001\n\nreplica-priority 5\nsave 60 5\n")
    assert "user a on\n" in text
    assert SIGNATURE in text
    again = Config()
    again.load(str(path))
    for setting in SETTINGS:
        assert again.show(setting.name) == config.show(setting.name), setting.name
    before = path.read_text()
    again.rewrite()
    assert path.read_text() == before


def test_a_forced_rewrite_of_all_defaults_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("")
    config = Config()
    config.load(str(path))
    config.rewrite(force=True)
    again = Config()
    again.load(str(path))
    for setting in SETTINGS:
        assert again.show(setting.name) == config.show(setting.name), setting.name


def test_every_setting_takes_back_what_it_shows() -> None:
    for setting in SETTINGS:
        shown = setting.kind.show(setting.default)
        words = shown.split(" ") if setting.kind.many_words and shown else [shown]
        if setting.name in ("replicaof", "dir"):
            continue  # `no one` is said otherwise; a folder is shown whole
        assert setting.kind.parse(words) == setting.default, setting.name


@given(st.sampled_from(SETTINGS), WORDS)
def test_any_words_give_a_value_or_a_config_error(setting: Any, words: list[str]) -> None:
    with contextlib.suppress(ConfigError):
        value = setting.kind.parse(words)
        value = setting.kind.merge(setting.default, value)
        setting.kind.show(value)
        setting.kind.lines(value)


@given(st.text(max_size=200))
def test_any_file_is_read_or_refused_with_its_line(text: str) -> None:
    directives: list[list[str]] = []
    # An include of the machine's files is no part of this test.
    reader = FileReader(directives.append)
    with contextlib.suppress(ConfigFileError, InputError):
        reader.read_lines(text.replace("include", "exclude"), "here")
    assert all(directives)


@given(st.text(max_size=200))
def test_any_file_can_be_rewritten(text: str) -> None:
    rewriter = Rewriter(text, lambda words: words[0])
    rewriter.put("port", "port 1")
    lines = rewriter.text().split("\n")
    assert "port 1" in lines


@given(st.binary(max_size=50))
def test_a_quoted_word_is_read_back_as_it_was(word: bytes) -> None:
    text = word.decode("utf-8", "surrogateescape")
    assert split_words("x " + quote(text)) == ["x", text]


@given(st.integers(0, 2**63 - 1))
def test_a_formatted_size_is_parsed_back(size: int) -> None:
    assert parse_memory(format_memory(size)) == size
