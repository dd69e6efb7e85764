"""Limits with their units and reasons. Relations between them are asserted at the end."""

from __future__ import annotations

#: The Redis version whose behaviour we show (INFO redis_version, HELLO): clients choose by it.
REDIS_VERSION = "7.0.15"

#: Longest inline request, and longest length line of a request, as in Redis (PROTO_INLINE_MAX_SIZE).
INLINE_BYTES_MAX = 64 * 1024
#: Arguments in one request, as in Redis.
MULTIBULK_COUNT_MAX = 2**31 - 1
#: Before AUTH a peer may not make us allocate: Redis's limits.
MULTIBULK_COUNT_UNAUTHENTICATED_MAX = 10
BULK_LENGTH_UNAUTHENTICATED_MAX = 16 * 1024

#: Replies gathered in one pass before they are handed to the socket, in bytes.
REPLY_BYTES_PER_FLUSH = 256 * 1024
#: A client with this much unread output is not read from until it drains, in bytes.
OUTPUT_PAUSE_BYTES = 1024 * 1024

#: Command spellings (GET, get, Get ...) remembered for direct lookup.
COMMAND_SPELLINGS_MAX = 4096
#: Distinct error codes counted in INFO errorstats, as in later Redis versions.
ERROR_CODES_MAX = 128

#: Keys per bucket that the pure Table grows towards.
TABLE_BUCKET_KEYS = 64
#: A table of up to so many keys is one bucket, in order of insertion.
TABLE_SMALL_KEYS = 128

assert REPLY_BYTES_PER_FLUSH <= OUTPUT_PAUSE_BYTES
assert BULK_LENGTH_UNAUTHENTICATED_MAX < INLINE_BYTES_MAX
