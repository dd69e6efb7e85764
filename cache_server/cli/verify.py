"""`cachectl verify`: whether every follower holds what its leader holds, bucket by bucket.

The leader does the work (VERIFY START); here it is asked for, waited for and told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.table import Table

#: Between two looks at a pass under way, in seconds.
POLL_S = 0.1


def as_dict(flat: Any) -> dict[str, Any]:
    """A flat list of names and values as RESP2 gives a map."""
    return flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2]))


def run_pass(
    client: Any, timeout_s: float, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Begins a pass, or waits for the one under way; its report.

    Raises redis.RedisError where the node refuses, TimeoutError when it takes longer."""
    before = as_dict(client.execute_command("VERIFY", "STATUS"))
    if before["state"] == "idle":
        client.execute_command("VERIFY", "START")
    until = time.monotonic() + timeout_s
    while True:
        status = as_dict(client.execute_command("VERIFY", "STATUS"))
        if status["state"] == "idle" and status["passes"] > before["passes"]:
            return status
        if time.monotonic() > until:
            raise TimeoutError(f"no end after {timeout_s:.0f} s ({status['state']})")
        sleep(POLL_S)


def report_table(status: dict[str, Any]) -> Table:
    """One line for each follower."""
    table = Table(
        title=f"{status['last-keys']} keys at offset {status['last-offset']}, "
        f"{status['last-duration-ms']} ms, {status['last-bytes-sent']} bytes sent"
    )
    for column in ("follower", "buckets that differ", "keys", "repaired", "which"):
        table.add_column(column)
    for flat in status["last-replicas"]:
        found = as_dict(flat)
        named = ", ".join(f"{db}/{key} (bucket {bucket})" for db, key, bucket in found["keys"])
        table.add_row(
            found["replica"],
            str(found["buckets-differing"]),
            str(found["keys-differing"]),
            str(found["keys-repaired"]),
            found["note"] or named or "same",
        )
    return table


def is_same(status: dict[str, Any]) -> bool:
    """Whether every follower was compared and none differed."""
    return bool(status["last-same"]) and not any(
        as_dict(flat)["note"] for flat in status["last-replicas"]
    )


__all__ = ["is_same", "report_table", "run_pass"]
