"""Limits with their units and reasons. Relations between them are asserted at the end."""

from __future__ import annotations

#: The Redis version whose behaviour we show (INFO redis_version, HELLO): clients choose by it.
REDIS_VERSION = "7.0.15"

#: Longest inline request, and longest length line of a request (Redis: PROTO_INLINE_MAX_SIZE).
INLINE_BYTES_MAX = 64 * 1024
#: Arguments in one request, as in Redis.
MULTIBULK_COUNT_MAX = 2**31 - 1
#: Before AUTH a peer may not make us allocate: Redis's limits.
MULTIBULK_COUNT_UNAUTHENTICATED_MAX = 10
BULK_LENGTH_UNAUTHENTICATED_MAX = 16 * 1024

#: Replies gathered in one pass before they are handed to the socket, in bytes.
REPLY_BYTES_PER_FLUSH = 256 * 1024
#: How long a client's requests that arrived together run before others have their turn, in
#: nanoseconds, and after how many requests the clock is read.
TURN_NS_MAX = 1_000_000
TURN_REQUESTS = 32
#: A client with this much unread output is not read from until it drains, in bytes. Clients that
#: send a whole pipeline before they read (a million commands, 9 bytes of reply each) must not
#: come to wait for us while we wait for them.
OUTPUT_PAUSE_BYTES = 16 * 1024 * 1024

#: Command spellings (GET, get, Get ...) remembered for direct lookup.
COMMAND_SPELLINGS_MAX = 4096
#: Powers of two of microseconds that calls are counted in: the last is about nine minutes.
LATENCY_BUCKETS = 30
#: Distinct error codes counted in INFO errorstats, as in later Redis versions.
ERROR_CODES_MAX = 128

#: Keys per bucket that the pure Table grows towards.
TABLE_BUCKET_KEYS = 64
#: A table of up to so many keys is one bucket, in order of insertion.
TABLE_SMALL_KEYS = 128
#: The fields of a hash lie in one block up to so many bytes and pairs: a look-up walks over them.
FIELDS_BLOCK_BYTES_MAX = 1024
FIELDS_BLOCK_PAIRS_MAX = 64
#: Pairs in one block of a sorted set's order: an insertion shifts half of it, a few KB.
SORTED_BLOCK_PAIRS = 512

#: Elements of a value that a snapshot encodes before it lets clients be served again.
SNAPSHOT_STEP_ELEMENTS = 1024
#: Keys that a snapshot takes out of the table at once: the most that one write has to wait for.
SNAPSHOT_GROUP_KEYS = 64
#: Longest string believed in a snapshot, in bytes; beyond the largest proto-max-bulk-len in use.
SNAPSHOT_STRING_BYTES_MAX = 2**31
#: Most elements of one value believed in a snapshot: what Redis's own length limit allows.
SNAPSHOT_COUNT_MAX = 2**40
#: Fields of a snapshot's preamble that are kept; Redis writes ten.
SNAPSHOT_AUX_FIELDS_MAX = 64
#: Names of keys without elements that a load mentions in the log, as in Redis.
SNAPSHOT_EMPTY_NAMES_MAX = 10
#: Longest pause at once under key-load-delay: an end of the server waits for no more than this.
LOAD_PAUSE_SECONDS_MAX = 0.05
#: Time that a background save works before clients are served again, in microseconds.
SAVE_SLICE_US = 1000
#: Bytes of a snapshot handed to the disk at once.
SAVE_CHUNK_BYTES = 256 * 1024
#: Bytes after which a snapshot's file is synced (rdb-save-incremental-fsync), as in Redis.
SAVE_SYNC_BYTES = 4 * 1024 * 1024
#: A background save that failed is not tried again before this, in seconds (as in Redis).
SAVE_RETRY_SECONDS = 5
#: A snapshot whose length has to be known before it is sent stays in memory up to this size.
SNAPSHOT_SPOOL_MEMORY_BYTES = 8 * 1024 * 1024

#: Longest line of a log's annotation or of its manifest, in bytes, as in Redis.
LOG_LINE_BYTES_MAX = 1024
MANIFEST_LINE_BYTES_MAX = 1024
#: Most bytes of a manifest that are read: ten thousand files.
MANIFEST_BYTES_MAX = 1024 * 1024
#: Most words of a command in a log, as in a request.
LOG_ARGUMENTS_MAX = 2**31 - 1
#: Frames that may stand together in a log: a transaction of 16 GB.
LOG_GROUP_FRAMES_MAX = 2**20
#: Frames received in the middle of a command wait for its end up to so many bytes, before one of
#: them is cut.
LOG_HELD_BYTES_MAX = 256 * 1024
#: Bytes of a log read at once.
LOG_READ_BYTES = 1024 * 1024
#: Rollback files that INFO counts and `cachectl rollback list` shows at most.
ROLLBACK_FILES_MAX = 10_000
#: A log that could not be written is tried again after this, in seconds.
LOG_RETRY_SECONDS = 0.1
#: After so many failures in a row, rewrites wait: a minute, then twice as long each time, at most
#: an hour (as in Redis).
REWRITE_FAILURES_MAX = 3
REWRITE_DELAY_MINUTES_MAX = 60
#: Elements in one command of a log that was rewritten as commands, as in Redis.
REWRITE_ITEMS = 64

#: Elements that SRANDMEMBER -n and its like may be asked for at once: a reply of some 100 MB. Redis
#: sets no limit, and such a request keeps it busy until its memory is gone.
DRAWN_ELEMENTS_MAX = 10_000_000

#: Connections to other servers that MIGRATE keeps, and how long one is kept without use, in ms;
#: as in Redis.
MIGRATE_LINKS_MAX = 64
MIGRATE_LINK_IDLE_MS = 10_000
#: Bytes that MIGRATE sends at once: its timeout counts for each such part, as in Redis.
MIGRATE_CHUNK_BYTES = 64 * 1024
#: Longest line of a reply that MIGRATE believes in; Redis cuts at 1 KiB.
MIGRATE_LINE_BYTES_MAX = 16 * 1024

assert REPLY_BYTES_PER_FLUSH <= OUTPUT_PAUSE_BYTES
assert BULK_LENGTH_UNAUTHENTICATED_MAX < INLINE_BYTES_MAX

#: Memory of one Lua interpreter, in bytes; Redis has no limit but that of the machine.
SCRIPT_MEMORY_BYTES_MAX = 1024 * 1024 * 1024
#: What a run may leave beyond twice what is in use, before it is collected at the run's end.
SCRIPT_GARBAGE_BYTES_MAX = 64 * 1024 * 1024
#: Scripts that EVAL keeps ready by their text, besides those known by their SHA1.
SCRIPT_TEXTS_MAX = 1000
