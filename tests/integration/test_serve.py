"""The server as a process: where it listens, how it ends, what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from tests.integration.processes import OURS, Process, free_port, wait_for

pytestmark = [pytest.mark.integration]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "node"


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*OURS, *words], input=stdin, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_log_has_the_markers_that_tools_wait_for(folder: Path) -> None:
    process = Process(OURS, folder, ['save ""', "always-show-logo yes"])
    process.start()
    log = process.log()
    assert process.process is not None
    pid = process.process.pid
    assert log.index(f" PID: {pid}") < log.index("Server initialized")
    assert log.index("Server initialized") < log.index("Ready to accept connections")
    assert "compiled core" in log or "pure twin" in log
    process.send(signal.SIGTERM)
    assert process.process.wait(10) == 0
    assert "ready to exit, bye bye" in process.log()


def test_a_unix_socket_and_a_pid_file_are_made_and_removed(folder: Path) -> None:
    path, pidfile = folder / "s", folder / "pid"
    lines = ['save ""', f"unixsocket {path}", "unixsocketperm 700", f"pidfile {pidfile}"]
    process = Process(OURS, folder, lines)
    process.start()
    assert process.process is not None
    assert pidfile.read_text().strip() == str(process.process.pid)
    assert path.stat().st_mode & 0o777 == 0o700
    with redis.Redis(unix_socket_path=str(path)) as client:
        assert client.ping()
        assert b"addr=" in client.execute_command("CLIENT", "INFO")
    process.send(signal.SIGINT)
    assert process.process.wait(10) == 0
    assert not path.exists()
    assert not pidfile.exists()


def test_port_and_addresses_change_while_it_runs(folder: Path) -> None:
    process = Process(OURS, folder, ['save ""', "bind 127.0.0.1"])
    process.start()
    client = process.client()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(redis.ResponseError, match="Unable to listen on this port"):
            client.config_set("port", taken.getsockname()[1])
    assert client.config_get("port") == {"port": str(process.port)}
    process.port = free_port()
    assert client.config_set("port", process.port)
    wait_for(process.answers, "an answer on the new port")
    assert client.ping()
    process.kill()


def test_more_clients_than_allowed_are_refused_and_idle_ones_closed(folder: Path) -> None:
    process = Process(OURS, folder, ['save ""', "maxclients 2", "timeout 1"])
    process.start()
    address = ("127.0.0.1", process.port)

    def refused() -> bool:
        with socket.create_connection(address, 5) as third:
            return third.recv(100).startswith(b"-ERR max number of clients reached")

    with socket.create_connection(address, 5) as first, socket.create_connection(address, 5):
        wait_for(refused, "a third client to be refused")
        first.settimeout(10)
        assert first.recv(10) == b""  # idle for longer than `timeout`
    process.kill()


def test_title_and_idle_state_of_the_process(folder: Path) -> None:
    process = Process(
        OURS, folder, ['save ""', 'proc-title-template "{title} at {port} {config-file}"']
    )
    process.start()
    assert process.process is not None
    title = Path(f"/proc/{process.process.pid}/cmdline").read_text().rstrip("\0")
    assert title.endswith(f" at {process.port} {process.conf}")
    process.kill()


def test_it_runs_in_the_background_when_told_to(folder: Path) -> None:
    folder.mkdir()
    port, pidfile, log = free_port(), folder / "pid", folder / "log"
    words = ["--port", str(port), "--daemonize", "yes", "--pidfile", str(pidfile)]
    done = run(*words, "--logfile", str(log), "--dir", str(folder), "--save", "")
    assert (done.returncode, done.stdout) == (0, "")
    client = redis.Redis(port=port, socket_timeout=5)
    wait_for(client.ping, "the daemon to answer")
    number = int(pidfile.read_text())
    assert os.getsid(number) == number
    with pytest.raises(redis.ConnectionError):
        client.execute_command("SHUTDOWN", "NOSAVE")
    wait_for(lambda: not pidfile.exists(), "the pid file to go")
    assert "Ready to accept connections" in log.read_text()


def test_configuration_from_standard_input_and_the_last_word_counts(folder: Path) -> None:
    folder.mkdir()
    done = run("-", "--port", "0", "--dir", str(folder), stdin="port 1\nhz 20\n")
    assert done.returncode == 1
    assert "Configured to not listen anywhere, exiting." in done.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--version",), "v=7.0.15"),
        (("--port", "--bla"), "argument couldn't be parsed into an integer"),
        (("/nonexistent/redis.conf",), "can't open config file '/nonexistent/redis.conf'"),
        (("--rename-command", "nosuch", "x"), "No such command in rename-command"),
    ],
)
def test_what_cannot_be_started_is_said_and_exits_at_once(
    words: tuple[str, ...], text: str
) -> None:
    done = run(*words)
    assert text in done.stdout + done.stderr
    assert done.returncode == (0 if words == ("--version",) else 1)


def test_renamed_commands_are_called_by_their_new_names(folder: Path) -> None:
    lines = ['save ""', "rename-command flushall wipe", 'rename-command debug ""']
    process = Process(OURS, folder, lines)
    process.start()
    client = process.client()
    assert client.execute_command("WIPE") in ("OK", True)
    for name in ("FLUSHALL", "DEBUG"):
        with pytest.raises(redis.ResponseError, match="unknown command"):
            client.execute_command(name)
    process.kill()
