"""Limits of the coordination shell, with units and reasons."""

from __future__ import annotations

#: A node's reply larger than this is not read on: INFO of a thousand followers is below 200 kB.
REPLY_BYTES_MAX = 4 * 1024 * 1024
#: Arrays in arrays: the deepest reply that is asked for (hello messages, REGISTER) has one level.
REPLY_DEPTH_MAX = 4
#: Elements of one array.
REPLY_ELEMENTS_MAX = 4096
#: Digits of a length or an integer.
REPLY_DIGITS_MAX = 20
#: Commands not yet taken by the kernel on one link, in bytes; a peer that reads nothing is cut off.
LINK_OUTPUT_BYTES_MAX = 1024 * 1024
#: The state files are small; anything larger was not written by us, in bytes.
STATE_BYTES_MAX = 16 * 1024 * 1024

assert LINK_OUTPUT_BYTES_MAX < REPLY_BYTES_MAX < STATE_BYTES_MAX
#: Hosts of one external store; more would only be tried in turn for longer.
STORE_HOSTS_MAX = 16
#: Questions to the external store under way at once: one for each monitored master, and to spare.
STORE_CALLS_MAX = 1024
#: A reply of etcd with both cells is below 60 kB; more is not read.
STORE_REPLY_BYTES_MAX = 256 * 1024
