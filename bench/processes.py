"""Processes that a benchmark starts: their CPU time, their memory, and their end."""

from __future__ import annotations

import glob
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A TCP port of loopback that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Process:
    """A child with its output in `folder`/log. Linux only: it reads /proc.

    What starts again in a folder finds its modules compiled, as one that is installed does."""

    def __init__(self, line: list[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        env = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        with open(folder / "log", "ab") as log:
            self.child = subprocess.Popen(
                line, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env
            )
        self.folder = folder

    def wait_until(self, ready: Callable[[], Any], seconds: float = 30) -> None:
        """Polls `ready` until it is true. Raises TimeoutError with the log's end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if ready():
                    return
            except Exception:
                if self.child.poll() is not None:
                    break
            time.sleep(0.02)
        raise TimeoutError((self.folder / "log").read_text()[-2000:])

    def cpu_seconds(self) -> float:
        """CPU time of all threads so far, from the scheduler's nanosecond accounting."""
        nanoseconds = 0
        for path in glob.glob(f"/proc/{self.child.pid}/task/*/schedstat"):
            nanoseconds += int(Path(path).read_text().split()[0])
        return nanoseconds / 1e9

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise LookupError("VmRSS")

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that does not end."""
        self.child.terminate()
        try:
            self.child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
