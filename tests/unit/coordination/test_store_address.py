"""The `coordinator` directive: what it may say, and how it is refused."""

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.config import Config, ConfigError, ConfigFileError
from cache_server.coordination.store_address import check, parse
from replication.failover.constants import LEASE_TTL_MS


def test_without_an_external_store_there_is_no_address():
    assert parse("") is None
    assert parse("embedded") is None
    assert Config().coordinator == "embedded"


def test_hosts_prefix_and_options_are_read():
    found = parse("etcd://10.0.0.1,[::1]:99,c.example:2/teams/cache?ttl=2000")
    assert found.hosts == (("10.0.0.1", 2379), ("::1", 99), ("c.example", 2))
    assert (found.kind, found.prefix, found.ttl_ms) == ("etcd", "/teams/cache", 2000)
    assert found.label == "etcd://10.0.0.1:2379,[::1]:99,c.example:2/teams/cache"
    assert not found.encrypted


def test_defaults():
    found = parse("zookeeper://h")
    assert (found.hosts, found.prefix) == ((("h", 2181),), "/cache-server")
    assert found.ttl_ms == LEASE_TTL_MS


def test_user_and_password_are_read_and_never_shown():
    found = parse("etcds://me:p%40ss@h:1/x")
    assert (found.user, found.password, found.encrypted) == ("me", "p@ss", True)
    assert found.label == "etcds://h:1/x"


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("consul://h", "must be embedded"),
        ("etcd", "must be embedded"),
        ("etcd://", "not host:port"),
        ("etcd://h:0", "from 1 to 65535"),
        ("etcd://h:70000", "from 1 to 65535"),
        ("etcd://h:x", "not host:port"),
        ("etcd://h:", "no port after its colon"),
        ("etcd://a,,b", "not host:port"),
        ("etcd://" + ",".join("h" * 17), "more than 16 hosts"),
        ("etcd://user@h", "user:password@"),
        ("etcd://h?ttl=soon", "not a number"),
        ("etcd://h?ttl=10", "from 200"),
        ("etcd://h?ttl=999999", "from 200"),
        ("etcd://h?ttl=500&ttl=600", "each once"),
        ("etcd://h?speed=9", "options are"),
        ("etcd://h?ttl", "coordinator"),
        ("etcd://h/a b", "space"),
        ("etcd://h/a#b", "'#'"),
        ("etcd://[h:1", "coordinator"),
        ("etcd://h?ca=/etc/passwd", "need etcds://"),
        ("etcds://h?cert=/etc/passwd", "together"),
        ("etcds://h?ca=/no/such/file", "cannot be read"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(word, why):
    with pytest.raises(ConfigError, match=why):
        parse(word)


@given(st.text(max_size=60), st.sampled_from(["", "etcd://", "etcds://", "zookeeper://h"]))
def test_any_word_is_an_address_or_refused(word, head):
    try:
        found = parse(head + word)
    except ConfigError:
        return
    assert found is None or found.hosts


def test_certificates_of_nonsense_are_refused_before_the_start():
    with pytest.raises(ConfigError, match="TLS file"):
        check("etcds://h?ca=" + __file__)


def test_a_missing_library_is_one_line_that_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"needs the library kazoo: pip install 'cache-server\["):
        check("zookeeper://h")


def test_a_configuration_file_names_the_line(tmp_path):
    path = tmp_path / "redis.conf"
    path.write_text("port 7000\ncoordinator consul://h\n")
    with pytest.raises(ConfigFileError) as refused:
        Config().load(str(path))
    assert "at line 2" in refused.value.report.lower()
    assert "consul://h" in refused.value.report
    assert "must be embedded" in refused.value.report
