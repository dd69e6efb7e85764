"""Limits and periods of failover: unit in the name, reason beside it, relations asserted at the
end.
"""

from __future__ import annotations

# Periods as Redis Sentinel observes them; operators and its test suite rely on them.
INFO_PERIOD_MS = 10_000
INFO_PERIOD_FAST_MS = 1_000
PING_PERIOD_MS = 1_000
ASK_PERIOD_MS = 1_000
PUBLISH_PERIOD_MS = 2_000
DOWN_AFTER_MS = 30_000
FAILOVER_TIMEOUT_MS = 180_000
PARALLEL_SYNCS = 1
TILT_TRIGGER_MS = 2_000
TILT_PERIOD_MS = 30_000
SLAVE_RECONF_TIMEOUT_MS = 10_000
MIN_LINK_RECONNECT_MS = 15_000
ELECTION_TIMEOUT_MS = 10_000
ASK_AGAIN_MS = 100  # a peer that does not yet agree that the leader is down is asked again so soon
RETRY_MS_MAX = (
    20_000  # after somebody else's vote; Redis waits twice the failover-timeout (six minutes)
)
RETRY_UNELECTED_MS = 250  # after a split vote; and as much again by chance
FRESH_INFO_MS = 300  # how long the choice of a follower waits for INFO asked at the start
PROMOTION_INFO_MS = 100  # how often the promoted node is asked whether it leads
CONFIG_SETTLE_MS = 3_000  # a register value nobody announced is acted on after this
HANDED_SETTLE_MS = 2_000  # so long an heir waits to be named before it follows the old leader
REGISTER_INIT_STEP_MS = 500  # sentinels start the register one after the other, in the order of ids
LINK_RECONNECT_MS = 200  # a refused dial costs nothing; a failed node is found again quickly
VALIDITY_ROUNDS = 4  # a role must be reported wrongly for so many hello periods before it is mended

# A machine is ticked about every 50 ms. Sentinels begin an election one after the other, in the
# order of their ids, so that the first is elected before the second begins: nearly always nobody
# splits the vote. Redis spreads the start over a second by chance.
TICK_MS = 50
TICK_BUSY_MS = 10  # while a change of leader is under way
START_STEP_MS = 150
START_DELAY_MS_MAX = 50

# A lease lives 600 ms: a change of leader waits for its end, and is to be over within a second. A
# sentinel polls five times in that time, so three lost exchanges in a row, and a stall of 300 ms,
# are survived.
LEASE_TTL_MS = 600
LEASE_POLLS_PER_TTL = 5
# Two monotonic clocks run at rates that differ by at most one in a hundred (a bad quartz differs by
# one in ten thousand). All safety rests on this bound and on an honest fsync.
CLOCK_RATE_BOUND_PER_MILLE = 10
LEASE_TTL_MS_MAX = 60_000

PENDING_COMMANDS_MAX = 100  # per link; a peer that does not answer is not asked without end
REPLICAS_MAX = 1_000  # per master; INFO from a hostile node cannot grow memory without end
SENTINELS_MAX = 1_000
INFO_BYTES_MAX = 1 << 20
HELLO_BYTES_MAX = 1_024
NAME_BYTES_MAX = 256
ID_BYTES_MAX = 128
EPOCH_MAX = (1 << 63) - 1

PERSIST_LATER_MS = 300  # what others would tell again is written after a change, not within it
LEASED_AGAIN_MS = (
    10  # an acceptor bound by a lease is asked again so soon: the leader may give it back
)
PEER_DRIVES_MS = 1_000  # whoever saw another sentinel's ballot leaves it so much time
REGISTER_ROUND_MS = 500  # a round without a majority of answers is started again after this

# An external store: how often a sentinel reads it in quiet times, how soon it is asked again after
# it gave no answer, and after what time a question without any outcome is given up.
STORE_READ_MS = 500
STORE_RETRY_MS = 100
STORE_ANSWER_MS_MAX = 10_000
# A leader whose lease a sentinel has barred takes it up again after so many ttls without a change.
BARRED_TTLS = 2

assert LEASE_TTL_MS <= LEASE_TTL_MS_MAX
assert STORE_RETRY_MS < STORE_READ_MS < STORE_ANSWER_MS_MAX
assert LEASE_TTL_MS // LEASE_POLLS_PER_TTL > TICK_MS
assert START_DELAY_MS_MAX < ELECTION_TIMEOUT_MS
assert INFO_PERIOD_FAST_MS <= INFO_PERIOD_MS
