"""Real etcd and ZooKeeper for tests: one server or three on loopback, in folders of their own.

Only what was started here is ended, by process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from tests.integration.processes import free_port, wait_for

ZOOKEEPER_JAR = Path("/usr/share/java/zookeeper.jar")
#: A Java machine of a few threads and little memory that starts quickly.
JAVA = ["java", "-Xmx128m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
START_S = 60.0


def missing(kind: str) -> str:
    """Which program the tests of this store lack, "" where none."""
    if kind == "etcd" and shutil.which("etcd") is None:
        return "etcd"
    if kind == "zookeeper" and (shutil.which("java") is None or not ZOOKEEPER_JAR.exists()):
        return "zookeeper"
    return ""


def needs_store(kind: str) -> None:
    """Skips a test whose store is not installed, and says so; with CI set it fails instead."""
    if name := missing(kind):
        if os.environ.get("CI"):
            pytest.fail(f"not installed: {name}")
        pytest.skip(f"not installed: {name}")


class Server:
    """One process of a store."""

    def __init__(self, command: list[str], folder: Path, port: int) -> None:
        self.command, self.folder, self.port = command, folder, port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; whether it serves is asked elsewhere."""
        with open(self.folder / "output.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder
            )

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(30)


class Store(ABC):
    """A cluster of one kind. `leads(server)` tells whether that server leads it."""

    kind = ""

    def __init__(self) -> None:
        self.servers: list[Server] = []

    def address(self, ttl_ms: int) -> str:
        """The `coordinator` word."""
        places = ",".join(f"127.0.0.1:{one.port}" for one in self.servers)
        return f"{self.kind}://{places}/tests?ttl={ttl_ms}"

    def start(self) -> None:
        for one in self.servers:
            one.start()
        self.wait()

    def wait(self) -> None:
        """Until it serves."""
        wait_for(lambda: self.leader() is not None, f"{self.kind} to serve", START_S)

    def leader(self) -> Server | None:
        """Who leads it now; of one server that one, as soon as it serves."""
        for one in self.servers:
            try:
                if self.leads(one):
                    return one
            except (OSError, urllib.error.URLError, ValueError):
                continue
        return None

    @abstractmethod
    def leads(self, server: Server) -> bool: ...

    def suspend(self) -> None:
        """All of it stops without a word."""
        for one in self.servers:
            one.send(signal.SIGSTOP)

    def resume(self) -> None:
        for one in self.servers:
            one.send(signal.SIGCONT)

    def kill(self) -> None:
        for one in self.servers:
            one.kill()

    def empty(self) -> None:
        """Killed, its disks wiped, started again."""
        self.kill()
        for one in self.servers:
            for path in (one.folder / "data").iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
        self.start()

    def restart(self) -> None:
        """Killed and started again, with what was on its disk."""
        self.kill()
        self.start()


class Etcd(Store):
    kind = "etcd"

    def __init__(self, folder: Path, count: int = 1) -> None:
        super().__init__()
        peers = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
        cluster = ",".join(f"n{index}={peer}" for index, peer in enumerate(peers))
        for index, peer in enumerate(peers):
            place, port = folder / f"etcd-{index}", free_port()
            place.mkdir(parents=True)
            client = f"http://127.0.0.1:{port}"
            command = ["etcd", "--name", f"n{index}", "--data-dir", str(place / "data")]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", cluster, "--heartbeat-interval", "50"]
            command += ["--election-timeout", "500", "--logger", "zap", "--log-level", "error"]
            self.servers.append(Server(command, place, port))

    def leads(self, server: Server) -> bool:
        url = f"http://127.0.0.1:{server.port}/v3/maintenance/status"
        request = urllib.request.Request(url, data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=1) as reply:
            text = reply.read(4096).decode().replace(" ", "")
        member = text.partition('"member_id":"')[2].partition('"')[0]
        return bool(member) and f'"leader":"{member}"' in text


class ZooKeeper(Store):
    kind = "zookeeper"

    def __init__(self, folder: Path, count: int = 1) -> None:
        super().__init__()
        members = [f"server.{i + 1}=127.0.0.1:{free_port()}:{free_port()}" for i in range(count)]
        for index in range(count):
            place, port = folder / f"zookeeper-{index}", free_port()
            (place / "data").mkdir(parents=True)
            (place / "data" / "myid").write_text(f"{index + 1}\n")
            lines = ["tickTime=400", "initLimit=12", "syncLimit=5", f"dataDir={place / 'data'}"]
            lines += [f"clientPort={port}", "clientPortAddress=127.0.0.1"]
            lines += ["admin.enableServer=false", "4lw.commands.whitelist=srvr"]
            lines += members if count > 1 else []
            (place / "zoo.cfg").write_text("\n".join(lines) + "\n")
            main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
            command = [*JAVA, "-Dzookeeper.cnxTimeout=1000"]
            command += ["-cp", str(ZOOKEEPER_JAR), main, str(place / "zoo.cfg")]
            self.servers.append(Server(command, place, port))

    def leads(self, server: Server) -> bool:
        with socket.create_connection(("127.0.0.1", server.port), 1) as link:
            link.settimeout(1)
            link.sendall(b"srvr")
            text = b""
            while part := link.recv(4096):
                text += part
        return b"Mode: leader" in text or b"Mode: standalone" in text


STORES: dict[str, type[Etcd] | type[ZooKeeper]] = {"etcd": Etcd, "zookeeper": ZooKeeper}


def started(kind: str, folder: Path, count: int = 1) -> Store:
    """A running cluster of that kind."""
    store = STORES[kind](folder, count)
    try:
        store.start()
    except BaseException:
        store.kill()
        raise
    return store
