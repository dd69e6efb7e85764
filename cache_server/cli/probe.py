"""`python -m cache_server.cli.probe PORT`: exit code 0 while the process on that port answers.

For health checks in containers. An error reply is an answer too: a node that loads, or that wants a
password, is healthy.
"""

from __future__ import annotations

import socket
import sys

TIMEOUT_S = 2.0
REPLY_BYTES_MAX = 512


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody there speaks the protocol."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as link:
            link.settimeout(TIMEOUT_S)
            link.sendall(b"PING\r\n")
            return link.recv(REPLY_BYTES_MAX)[:1] in (b"+", b"-")
    except OSError:
        return False


def main() -> int:
    """The command line's entry."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.stderr.write(__doc__ or "")
        return 2
    return 0 if answers(int(sys.argv[1])) else 1


if __name__ == "__main__":
    sys.exit(main())
