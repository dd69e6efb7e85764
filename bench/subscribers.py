"""`python -m bench.subscribers PORT COUNT`: clients of the channel `news` that read and forget."""

from __future__ import annotations

import selectors
import socket
import sys


def main(port: int, count: int) -> None:
    """Prints "ready" when all have subscribed, and reads until it is ended."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"SUBSCRIBE news\r\n")
        assert sock.recv(200).startswith(b"*3"), "subscribed"
        selector.register(sock, selectors.EVENT_READ)
    print("ready", flush=True)
    scratch = bytearray(1 << 16)
    while True:
        for key, _ in selector.select():
            if not key.fileobj.recv_into(scratch):  # type: ignore[union-attr]
                return


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
