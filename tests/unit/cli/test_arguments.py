"""The command line as redis-server reads it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.cli.arguments import parse_arguments
from cache_server.config import Config, ConfigFileError
from cache_server.errors import InputError


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--port", "7000"], 'port "7000"'),
        (["--port", "7000", "--hz", "20"], 'port "7000"\nhz "20"'),
        (["--maxmemory 100mb", "--hz 20"], "maxmemory 100mb\nhz 20"),
        (["--port", "--bla", "--hz", "1"], 'port "--bla"\nhz "1"'),
        (["--save", "--hz", "1"], 'save ""\nhz "1"'),
        (["--hz", "1", "--save"], 'hz "1"\nsave ""'),
        (["--save", ""], 'save ""'),
        (["--save", "100", "10"], 'save "100" "10"'),
        (["--shutdown-on-sigint", "nosave force"], 'shutdown-on-sigint "nosave force"'),
        (["--replicaof", "127.0.0.1", "6379"], 'replicaof "127.0.0.1" "6379"'),
    ],
)
def test_options_become_lines_of_configuration(words: list[str], options: str) -> None:
    assert parse_arguments(words).options == options


def test_the_first_word_without_dashes_is_the_file() -> None:
    arguments = parse_arguments(["my.conf", "--port", "1"])
    assert (arguments.file, arguments.options) == ("my.conf", 'port "1"')


def test_a_lone_dash_at_either_end_reads_standard_input() -> None:
    assert parse_arguments(["-"]).from_stdin
    assert parse_arguments(["my.conf", "--port", "1", "-"]).from_stdin
    assert not parse_arguments(["--port", "-", "--hz", "1"]).from_stdin


@pytest.mark.parametrize(
    ("word", "action"),
    [("-v", "version"), ("--version", "version"), ("-h", "help"), ("--help", "help")],
)
def test_questions_about_the_program_come_first(word: str, action: str) -> None:
    assert parse_arguments([word]).action == action


def test_sentinel_mode_is_asked_for_by_a_word_anywhere() -> None:
    assert parse_arguments(["s.conf", "--sentinel"]).action == "sentinel"


def test_the_options_load_as_they_are_meant() -> None:
    config = Config()
    words = [
        "--port",
        "7000",
        "--replicaof",
        "127.0.0.1 6379",
        "--save",
        "",
        "--requirepass",
        'a"b',
    ]
    config.load(options=parse_arguments(words).options)
    assert (config.port, config.replicaof, config.save) == (7000, ("127.0.0.1", 6379), [])
    assert config.requirepass == 'a"b'


@given(st.lists(st.text(alphabet="ab-\"' \\\n10", max_size=6) | st.just("--hz"), max_size=6))
def test_any_command_line_loads_or_is_refused(words: list[str]) -> None:
    arguments = parse_arguments(words)
    with contextlib.suppress(ConfigFileError, InputError):
        Config().load(options=arguments.options)
