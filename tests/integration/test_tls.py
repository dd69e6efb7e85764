"""TLS between real processes: clients, followers, sentinels, and certificates that change."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.integration.certificates import all_certificates
from tests.integration.processes import (
    OUR_SENTINEL,
    OURS,
    REDIS,
    Cluster,
    Process,
    free_port,
    needs,
    needs_redis,
    wait_for,
)

pytestmark = [pytest.mark.integration, needs("openssl")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return all_certificates(tmp_path_factory.mktemp("certificates"))


class SecureProcess(Process):
    """A process that listens with TLS only."""

    def __init__(self, command: list[str], folder: Path, lines: list[str], files: Path) -> None:
        self.files = files
        port = free_port()
        secure = [
            *("port 0", f"tls-port {port}", "tls-replication yes"),
            f"tls-cert-file {files}/node.crt",
            f"tls-key-file {files}/node.key",
            f"tls-ca-cert-file {files}/ca.crt",
        ]
        super().__init__(command, folder, [*secure, *lines], port)

    def client(self, name: str = "other", **options: Any) -> Any:
        """With the certificate of that name, "" for none."""
        settings: dict[str, Any] = {"ssl": True, "ssl_check_hostname": False}
        settings["ssl_ca_certs"] = f"{self.files}/ca.crt"
        if name:
            settings["ssl_certfile"] = f"{self.files}/{name}.crt"
            settings["ssl_keyfile"] = f"{self.files}/{name}.key"
        return super().client(**settings, **options)


@pytest.fixture
def node(tmp_path: Path, files: Path) -> Iterator[SecureProcess]:
    process = SecureProcess(OURS, tmp_path / "node", [], files)
    try:
        process.start()
        yield process
    finally:
        process.kill()


def refused(node: SecureProcess, name: str) -> bool:
    try:
        node.client(name, retry=Retry(NoBackoff(), 0)).ping()
    except (redis.ConnectionError, OSError):
        return True
    return False


def test_requests_and_replies_of_any_size(node: SecureProcess) -> None:
    client = node.client()
    value = "x" * 3_000_000
    assert client.set("big", value)
    assert client.get("big") == value
    with client.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"k{number}", number)
        for number in range(2000):
            pipe.get(f"k{number}")
        assert pipe.execute()[2000:] == [str(number) for number in range(2000)]
    listener = client.pubsub()
    listener.subscribe("news")
    wait_for(lambda: client.publish("news", "hello"), "the subscription")
    wait_for(lambda: (listener.get_message() or {}).get("data") == "hello", "the message")


def test_who_shows_no_certificate_of_ours_is_refused(node: SecureProcess) -> None:
    assert refused(node, "")
    assert refused(node, "stranger")
    with socket.create_connection(("127.0.0.1", node.port), 5) as plain:
        plain.sendall(b"PING\r\n")
        assert b"PONG" not in plain.recv(100)
    assert node.client().config_set("tls-auth-clients", "optional")
    assert not refused(node, "")
    assert refused(node, "stranger")
    assert node.client().config_set("tls-auth-clients", "no")
    assert not refused(node, "")
    assert node.client().config_set("tls-auth-clients", "yes")
    assert refused(node, "")


@needs("redis-cli")
def test_redis_cli_speaks_to_it(node: SecureProcess) -> None:
    files = node.files
    words = ["redis-cli", "--tls", "--cacert", f"{files}/ca.crt", "-p", str(node.port)]
    words += ["--cert", f"{files}/other.crt", "--key", f"{files}/other.key", "PING"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "PONG\n", done.stderr


def shown_certificate(node: SecureProcess) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(f"{node.files}/ca.crt")
    context.load_cert_chain(f"{node.files}/other.crt", f"{node.files}/other.key")
    raw = socket.create_connection(("127.0.0.1", node.port), 5)
    with context.wrap_socket(raw) as link:
        return link.getpeercert(binary_form=True) or b""


def test_certificates_are_exchanged_while_clients_stay(node: SecureProcess) -> None:
    client, files = node.client(), node.files
    assert client.ping()
    before = shown_certificate(node)
    pair = {"tls-cert-file": f"{files}/other.crt", "tls-key-file": f"{files}/other.key"}
    assert client.config_set(*[word for item in pair.items() for word in item])
    wait_for(lambda: shown_certificate(node) != before, "the new certificate")
    assert client.ping()
    for name, value in (("tls-cert-file", "/nowhere"), ("tls-protocols", "SSLv2")):
        with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
            client.config_set(name, value)
    assert not refused(node, "other")


def test_a_key_may_have_a_password(node: SecureProcess) -> None:
    client = node.client()
    locked = f"{node.files}/node.locked.key"
    with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
        client.config_set("tls-key-file", locked)
    assert client.config_set("tls-key-file-pass", "sesame")
    assert client.config_set("tls-key-file", locked)
    assert not refused(node, "other")


def test_a_port_changes_between_clear_and_tls(node: SecureProcess) -> None:
    client = node.client()
    assert client.config_set("tls-port", 0)
    assert client.config_set("port", node.port)
    plain = redis.Redis(port=node.port, socket_timeout=5, protocol=2)
    wait_for(plain.ping, "an answer in clear")
    assert plain.config_set("port", 0)
    assert plain.config_set("tls-port", node.port)
    wait_for(lambda: not refused(node, "other"), "an answer with TLS")
    assert client.ping()


def test_without_a_certificate_the_server_does_not_start(tmp_path: Path) -> None:
    words = [*OURS, "--port", "0", "--tls-port", str(free_port()), "--dir", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "No tls-cert-file configured!" in done.stdout
    assert "Failed to configure TLS. Check logs for more info." in done.stdout


@needs_redis
@pytest.mark.parametrize(("leader", "follower"), [(OURS, OURS), (OURS, REDIS), (REDIS, OURS)])
def test_a_follower_follows_over_tls(
    tmp_path: Path, files: Path, leader: list[str], follower: list[str]
) -> None:
    one = SecureProcess(leader, tmp_path / "leader", ["repl-diskless-sync-delay 0"], files)
    two = SecureProcess(follower, tmp_path / "follower", [f"replicaof 127.0.0.1 {one.port}"], files)
    try:
        one.start()
        one.client().set("before", "x" * 1_000_000)
        two.start()
        wait_for(lambda: two.info()["master_link_status"] == "up", f"the link: {two.log()}")
        one.client().set("after", "1")
        wait_for(lambda: two.client().get("after") == "1", "the write at the follower")
        assert len(two.client().get("before")) == 1_000_000
        assert one.info()["slave0"]["port"] == two.port
    finally:
        two.kill()
        one.kill()


class SecureCluster(Cluster):
    """All processes speak TLS only."""

    def __init__(self, folder: Path, files: Path) -> None:
        self.name = "mymaster"
        leader = SecureProcess(OURS, folder / "node-0", ["repl-diskless-sync-delay 0"], files)
        follows = [f"replicaof 127.0.0.1 {leader.port}"]
        self.nodes = [leader, SecureProcess(OURS, folder / "node-1", follows, files)]
        watch = [
            f"sentinel monitor {self.name} 127.0.0.1 {leader.port} 2",
            f"sentinel down-after-milliseconds {self.name} 1000",
        ]
        self.sentinels = [
            SecureProcess(OUR_SENTINEL, folder / f"sentinel-{index}", watch, files)
            for index in range(3)
        ]


def cachectl(files: Path, cluster: Cluster) -> str:
    """What `cachectl status` says over TLS."""
    words = [sys.executable, "-m", "cache_server.cli.admin", "--tls", "--cacert"]
    words += [f"{files}/ca.crt", "--cert", f"{files}/other.crt", "--key", f"{files}/other.key"]
    words += ["status", "--sentinels", f"127.0.0.1:{cluster.sentinels[0].port}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.slow
def test_sentinels_fail_over_over_tls(tmp_path: Path, files: Path) -> None:
    with SecureCluster(tmp_path, files) as cluster:
        old = cluster.by_port(cluster.leader_port())
        told = cachectl(files, cluster)
        assert f"127.0.0.1:{old.port}" in told
        wait_for(lambda: old.client().set("k", "1"), "a write")
        old.kill()
        new = cluster.wait_for_new_leader(old.port)
        wait_for(lambda: new.client().set("k", "2"), "a write at the new leader")
