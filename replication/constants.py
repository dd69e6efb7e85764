"""Limits of replication: each with its unit and its reason.

What a peer can make us hold in memory is bounded here; what an operator may tune arrives in the
settings of the machines (`LeaderSettings`, `FollowerSettings`) instead. The relations at the end
are checked when the module is imported.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

REPLID_LENGTH: Final = 40
"""Characters of a replication id: 160 random bits in hexadecimal, as Redis has it."""

NO_REPLID: Final = "0" * REPLID_LENGTH
"""The second id of a history that has never changed hands."""

EOF_MARK_LENGTH: Final = 40
"""Bytes of the mark that ends a snapshot whose length was not announced (`$EOF:<mark>`)."""

FRAME_BODY_BYTES_MAX: Final = 1 * MIB
"""Longest body of a frame. A reader holds a whole body before it may use one byte of it, so this
is what a peer can make it hold."""

STREAM_FRAME_BYTES: Final = 16 * KIB
"""Longest body we seal into the stream in one frame. Frames leave the backlog whole, so this is
how exactly the backlog keeps to its size; the header is 0.3 % of it."""

SNAPSHOT_CHUNK_BYTES: Final = 64 * KIB
"""Size of snapshot chunk the shell should aim at: large enough that header and checksum vanish,
small enough that producing one does not delay other clients by more than a millisecond."""

SYNC_WINDOW_BYTES: Final = 2 * MIB
"""Most bytes of a snapshot sent ahead of what the follower has verified: what a wire of 100 ms
holds at 20 MB/s. More would be kept in case a chunk comes damaged, and stand before the stream in
the buffers of a slow link."""

SYNC_ACK_BYTES: Final = 256 * KIB
"""How often a follower says how far it is: an eighth of the window, so that it never closes for
lack of an answer."""

SYNC_LOG_MEMORY_BYTES_MAX: Final = 4 * MIB
"""Snapshot chunks that a leader keeps in memory for one pass: a window. What slower followers have
yet to get beyond that, and what writes made it read early, is kept in a file."""

SYNC_HELD_MEMORY_BYTES: Final = 16 * MIB
"""The stream that a follower holds in memory while it loads a snapshot; the rest is in a file."""

SYNC_HELD_MEMORY_BYTES_MAX: Final = 64 * MIB
"""What it holds in memory where it cannot write that file, before it tells the leader to wait."""

STREAM_HELD_BYTES_MAX: Final = 16 * MIB
"""What a follower whose stream is paused holds of it before it stops reading."""

SYNC_HELD_BYTES_MAX: Final = 16 * 1024 * MIB
"""What it holds altogether before it tells the leader to wait: hours of a busy stream."""

SYNC_HELD_PIECE_BYTES: Final = 32 * KIB
"""What of it is applied in one turn of the loop: below a thousand commands, a few milliseconds."""

SYNC_CATCH_UP_BYTES: Final = 8 * MIB
"""What a leader keeps of the stream that it has sent, beyond its backlog's size, while a follower
catches up after a full sync: what may be in the buffers of a slow link and come damaged."""

SYNC_PATIENCE: Final = 10
"""How many times REPAIR_INTERVAL_MS a follower waits in a full sync before it asks once more for
what came damaged: the link is full then, and it comes behind all that is in the buffers."""

SYNC_FEED_CHUNKS: Final = 4
"""Chunks sent to one link in one turn of the loop, where they have only to be read."""

SYNC_EARLY_BYTES: Final = 1 * MIB
"""What writes may have made a snapshot read early before that is put aside as chunks."""

SYNC_FOLLOWERS_MAX: Final = 8
"""Followers that are sent a snapshot at a time; others wait their turn. Each costs the leader a
copy of every chunk, so this bounds for how long a turn of the loop delays clients."""

SYNC_LOG_INTERVAL_MS: Final = 5_000
"""How often both sides log how far a full sync is."""

SEND_BYTES_MAX: Final = 1 * MIB
"""Most stream bytes handed to one link in one action, so that a lagging follower does not copy
the whole backlog into its socket buffer at once."""

#: `REPLCONF member`: a node id, a dot, the beginning of a run id.
MEMBER_ID_BYTES_MAX = 64
HANDSHAKE_LINE_BYTES_MAX: Final = 1024
"""Longest reply line a follower reads before the stream begins (Redis reads as much)."""

BACKLOG_BYTES_MIN: Final = 16 * KIB
"""Smallest backlog kept whatever the configuration says."""

KEEPALIVE_INTERVAL_MS: Final = 1000
"""How often a newline or an empty snapshot frame tells a waiting peer that we live."""

ACK_INTERVAL_MS: Final = 1000
"""How often a follower reports its position without being asked (Redis: once a second)."""

REPAIR_HELD_BYTES_MAX: Final = 32 * MIB
"""Most that a follower holds behind a damaged frame while that is asked for again; with more the
link is dropped and resumed, which costs sending as much."""

REPAIR_INTERVAL_MS: Final = 300
"""After how long a damaged range that has not come is asked for once more: longer than most round
trips, shorter than anyone minds."""

REPAIR_ATTEMPTS_MAX: Final = 5
"""How often it is asked for before the link is given up."""

RESEND_BYTES_MAX: Final = 16 * MIB
"""Most stream bytes sent again for one request."""

VERIFY_WORDS_MAX: Final = 4 * MIB
"""Most words in one answer about sameness: a quarter of the buckets of a hundred million keys."""

VERIFY_NAMED_MAX: Final = 16
"""Most keys and buckets that the log and the report of a verification name."""

VERIFY_KEYS_MAX: Final = 20_000
"""With more differing keys than this a follower is rebuilt by a full sync instead."""

VERIFY_BATCH_KEYS: Final = 100
"""Keys repaired at once: reading them must not delay clients noticeably."""

VERIFY_REPAIR_BYTES_MAX: Final = 1024 * MIB
"""Longest repair believed: a batch of values, each of which may be as long as Redis allows."""

VERIFY_TIMEOUT_MS: Final = 3_600_000
"""After how long without any progress a verification is given up."""

VERIFY_BUDGET_ASKED_PERCENT: Final = 50
"""What a verification that somebody waits for may take of a core."""

LINEAGE_IDS_MAX: Final = 16
"""Most replication ids with which a peer says where its history comes from."""

LINEAGE_BYTES_MAX: Final = LINEAGE_IDS_MAX * (REPLID_LENGTH + 21)
"""Longest text of them: id, colon, position, comma."""

REWIND_BATCH_KEYS: Final = 200
"""Keys that a rewinding follower asks for at once: reading them must not delay clients."""

REWIND_BATCH_BYTES: Final = 256 * KIB
"""Most bytes of names in such a question, unless one name alone is longer."""

REWIND_VALUES_BYTES: Final = 4 * MIB
"""With so many bytes of values an answer is full; the rest is asked for again."""

REWIND_KEYS_MAX: Final = 1_000_000
"""With more keys than this to be fetched a follower does a full sync instead."""

REWIND_ANSWER_MS: Final = 5_000
"""After how long without an answer the question is put again: its frame may have been damaged."""

RECONNECT_INTERVAL_MS: Final = 1000
"""Pause between two attempts to reach the leader (Redis: one attempt per cron second)."""

RECONNECT_JITTER_MS: Final = 250
"""Up to so much earlier, each time another part: many followers do not come back in one moment."""

SNAPSHOT_LENGTH_BYTES_MAX: Final = 1 << 46
"""Longest announced snapshot believed. A larger number is a broken peer, not a data set."""

POSITION_MAX: Final = (1 << 63) - 1
"""Largest stream position: offsets are signed 64-bit numbers on the wire."""

EPOCH_MAX: Final = (1 << 63) - 1
"""Largest epoch, for the same reason."""

FRAMES_VERSION: Final = 1
"""Version of the frame layout offered in `REPLCONF capa frames`; part of the frame's magic."""

assert SNAPSHOT_CHUNK_BYTES <= FRAME_BODY_BYTES_MAX
assert min(FRAME_BODY_BYTES_MAX, BACKLOG_BYTES_MIN) >= STREAM_FRAME_BYTES
assert HANDSHAKE_LINE_BYTES_MAX > 5 * REPLID_LENGTH, "a FULLRESYNC line must fit"
assert len(NO_REPLID) == REPLID_LENGTH
