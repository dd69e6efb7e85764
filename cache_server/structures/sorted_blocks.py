"""SortedBlocks: pairs (score, member) in order, for sorted sets of any size.

Problem. A sorted set needs its pairs in order of (score, member), with insertion, removal, "how
many are below this?" and "which is number n?", none of them slow at ten million pairs. Redis has
a skiplist with spans. In Python a skiplist is an object of 150 bytes a pair and a dozen cache
misses a step; one sorted list moves megabytes for every insertion; a plain two-level list has to
sum the lengths of all blocks before a pair to tell its rank.

Idea: two levels of short sorted lists, and a Fenwick tree over the lengths.

    scores  [ [1.0 1.0 2.0] [2.0 3.5] [4.0 9.0 9.0] ]      blocks of up to SORTED_BLOCK_PAIRS pairs
    members [ [ a   c   b ] [ d   a ] [ x   b   c ] ]
    counts     3             2         3                   as a Fenwick tree

A search halves its way to the block by the blocks' last pairs, then into the block: log2(n) steps
in all. Insertion and removal shift at most one block (a few KB). A block that is full is cut in
two, one that is almost empty joins its neighbour; this shifts the list of blocks (16 bytes a
block: 0.3 MB at 10 million pairs, some 10 us, once in a few hundred insertions). Pairs that
arrive in order fill the blocks fully, since the last (or first) block is then cut at its end.

The Fenwick tree turns a rank into a block and back in log2(blocks) steps. It is dropped when the
number of blocks changes and made anew only when it is asked for: loads and queues (ZADD, ZPOPMIN)
never pay for it. Making it costs about 1 ns a block, 30 us at 10 million pairs.

    add, remove, rank, at       O(log n + SORTED_BLOCK_PAIRS) the latter very cheap
    slice, remove_slice         O(log n + pairs)
    memory                      about 20 bytes a pair; the members are shared with the set's table

Every range of a sorted set is a range of ranks: by score or by name it is `rank` of its two ends.

Where there is a compiler, `sorted_blocks.pyx` stands in for this file: the same class with scores
as plain doubles. This file is the specification.

Invariants: blocks are sorted, and their concatenation is; no pair comes twice; no block is empty,
but for the only one; `counts` is None or says the length of every block; `used` is their sum. No
score is NaN: it has no place in an order."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from math import inf, nextafter
from sys import getsizeof
from typing import Any

from cache_server.constants import SORTED_BLOCK_PAIRS

_BLOCK = SORTED_BLOCK_PAIRS


class Counts:
    """A Fenwick tree over the lengths of the blocks: prefix sums that take single changes.

    Source: P. Fenwick, A new data structure for cumulative frequency tables, 1994."""

    def __init__(self, blocks: list[list[Any]]) -> None:
        size = len(blocks)
        self.size = size
        self.tree: Any = array("q", bytes(8 * (size + 1)))
        tree = self.tree
        for index in range(1, size + 1):
            tree[index] += len(blocks[index - 1])
            above = index + (index & -index)
            if above <= size:
                tree[above] += tree[index]

    def add(self, block: int, change: int) -> int:
        """The length of `block` changed by `change`."""
        index = block + 1
        while index <= self.size:
            self.tree[index] += change
            index += index & -index
        return 0

    def before(self, block: int) -> int:
        """Pairs in the blocks before `block`."""
        total = 0
        index = block
        while index > 0:
            total += self.tree[index]
            index -= index & -index
        return total

    def block_of(self, rank: int) -> int:
        """The block that holds the pair of this rank, which must exist."""
        step = 1
        while step * 2 <= self.size:
            step *= 2
        block = 0
        while step:
            if block + step <= self.size and self.tree[block + step] <= rank:
                block += step
                rank -= self.tree[block]
            step >>= 1
        return block


class SortedBlocks:
    """Pairs (score, member) in ascending order of score, then of the member's bytes."""

    def __init__(self, pairs: Iterable[tuple[float, bytes]] = ()) -> None:
        """`pairs` may be in any order, none of them twice."""
        ordered = sorted(pairs)
        self.used = len(ordered)
        self.counts: Counts | None = None
        cuts = range(0, len(ordered), _BLOCK)
        self.scores: list[list[float]] = [[p[0] for p in ordered[c : c + _BLOCK]] for c in cuts]
        self.members: list[list[bytes]] = [[p[1] for p in ordered[c : c + _BLOCK]] for c in cuts]
        if not ordered:
            self.scores.append([])
            self.members.append([])

    def __len__(self) -> int:
        return self.used

    def items(self) -> Iterator[tuple[bytes, float]]:
        """(member, score) in ascending order. Not for use while pairs change."""
        for members, scores in zip(self.members, self.scores):
            yield from zip(members, scores)

    def copy(self) -> SortedBlocks:
        """The same pairs in blocks of its own."""
        twin = SortedBlocks()
        twin.used = self.used
        twin.scores = [block[:] for block in self.scores]
        twin.members = [block[:] for block in self.members]
        return twin

    def block_sizes(self) -> list[int]:
        """How many pairs each block holds."""
        return [len(block) for block in self.scores]

    @property
    def memory_bytes(self) -> int:
        """Bytes of the structure itself, without scores and members."""
        blocks = [*self.scores, *self.members]
        return 2 * getsizeof(self.scores) + sum(map(getsizeof, blocks))

    # -- one pair ------------------------------------------------------------------------------

    def add(self, score: float, member: bytes) -> None:
        """Puts a pair that is not there yet."""
        block = self._block_for(score, member)
        scores = self.scores[block]
        index = self._index_in(block, score, member)
        scores.insert(index, score)
        self.members[block].insert(index, member)
        self.used += 1
        if len(scores) > _BLOCK:
            self._cut(block, index)
        elif self.counts is not None:
            self.counts.add(block, 1)

    def remove(self, score: float, member: bytes) -> None:
        """Takes a pair out. Raises KeyError where it is not there."""
        block = self._block_for(score, member)
        members = self.members[block]
        index = self._index_in(block, score, member)
        if index >= len(members) or members[index] != member:
            raise KeyError(member)
        self._delete(block, index)

    def move(self, old: float, new: float, member: bytes) -> None:
        """Gives a member another score. Raises KeyError where (old, member) is not there."""
        block = self._block_for(old, member)
        scores = self.scores[block]
        members = self.members[block]
        index = self._index_in(block, old, member)
        last = len(members) - 1
        if index > last or members[index] != member:
            raise KeyError(member)
        # At the ends of a block the neighbours are elsewhere: there the long way is taken.
        if 0 < index < last and scores[index - 1] < new < scores[index + 1]:
            scores[index] = new
            return
        held = members[index]  # the object that the set's table holds too
        self._delete(block, index)
        self.add(new, held)

    def pop_first(self) -> tuple[bytes, float]:
        """Takes out the lowest pair. Raises IndexError when there is none."""
        if self.used == 0:
            raise IndexError("pop from an empty order")
        member: bytes = self.members[0][0]
        score: float = self.scores[0][0]
        self._delete(0, 0)
        return member, score

    def pop_last(self) -> tuple[bytes, float]:
        """Takes out the highest pair. Raises IndexError when there is none."""
        if self.used == 0:
            raise IndexError("pop from an empty order")
        block = len(self.members) - 1
        index = len(self.members[block]) - 1
        member: bytes = self.members[block][index]
        score: float = self.scores[block][index]
        self._delete(block, index)
        return member, score

    # -- ranks ---------------------------------------------------------------------------------

    def rank(self, score: float, member: bytes) -> int:
        """How many pairs are below (score, member), whether or not it is there."""
        block = self._block_for(score, member)
        index = self._index_in(block, score, member)
        return self._before(block) + index

    def rank_of_score(self, score: float, after: bool) -> int:
        """How many pairs have a score below `score`; with `after`, up to and including it."""
        if after:
            if score == inf:
                return self.used
            return self.rank(nextafter(score, inf), b"")
        return self.rank(score, b"")

    def rank_of_name(self, member: bytes, after: bool) -> int:
        """How many members are below `member` (or up to it), in a set whose scores are all equal.

        Scores are not looked at: where they differ, the answer means something only if members are
        in the order of their names nevertheless."""
        name = member + b"\0" if after else member
        low = 0
        high = len(self.members) - 1
        while low < high:
            middle = (low + high) >> 1
            members = self.members[middle]
            if members[len(members) - 1] < name:
                low = middle + 1
            else:
                high = middle
        members = self.members[low]
        return self._before(low) + bisect_left(members, name)

    def at(self, rank: int) -> tuple[bytes, float]:
        """The pair of this rank, counted from 0. Raises IndexError."""
        if not 0 <= rank < self.used:
            raise IndexError(rank)
        block = self._block_at(rank)
        index = rank - self._before(block)
        return self.members[block][index], self.scores[block][index]

    # -- ranges of ranks -----------------------------------------------------------------------

    def member_slice(self, start: int, stop: int) -> list[bytes]:
        """The members of ranks `start` to before `stop`, ascending, in a new list."""
        return self._gather(self.members, start, stop)

    def score_slice(self, start: int, stop: int) -> list[float]:
        """The scores that go with `member_slice`."""
        return self._gather(self.scores, start, stop)

    def remove_slice(self, start: int, stop: int) -> list[bytes]:
        """Takes out the pairs of ranks `start` to before `stop`; returns their members."""
        removed = self.member_slice(start, stop)
        left = len(removed)
        if left == 0:
            return removed
        first = self._block_at(start)
        index = start - self._before(first)
        block = first
        while left:
            scores = self.scores[block]
            members = self.members[block]
            taken = min(left, len(scores) - index)
            del scores[index : index + taken]
            del members[index : index + taken]
            left -= taken
            index = 0
            block += 1
        self.used -= len(removed)
        self.counts = None
        self.scores[first:block] = [part for part in self.scores[first:block] if part]
        self.members[first:block] = [part for part in self.members[first:block] if part]
        if not self.scores:
            self.scores.append([])
            self.members.append([])
        elif first < len(self.scores):
            self._join(first)
        return removed

    # -- parts ---------------------------------------------------------------------------------

    def _block_for(self, point: float, member: bytes) -> int:
        """The first block whose last pair is not below the pair, or else the last block."""
        low = 0
        high = len(self.scores) - 1
        while low < high:
            middle = (low + high) >> 1
            scores = self.scores[middle]
            last = len(scores) - 1
            value = scores[last]
            if value < point or (value == point and self.members[middle][last] < member):
                low = middle + 1
            else:
                high = middle
        return low

    def _index_in(self, block: int, point: float, member: bytes) -> int:
        """Where in the block the pair is or would be."""
        scores = self.scores[block]
        members = self.members[block]
        low = 0
        high = len(scores)
        while low < high:
            middle = (low + high) >> 1
            value = scores[middle]
            if value < point or (value == point and members[middle] < member):
                low = middle + 1
            else:
                high = middle
        return low

    def _before(self, block: int) -> int:
        """Pairs in the blocks before `block`. The ends need no counts."""
        if block == 0:
            return 0
        if block == len(self.scores) - 1:
            return self.used - len(self.scores[block])
        if self.counts is None:
            self.counts = Counts(self.scores)
        return self.counts.before(block)

    def _block_at(self, rank: int) -> int:
        """The block of an existing rank. The ends need no counts."""
        last = len(self.scores) - 1
        if rank < len(self.scores[0]):
            return 0
        if rank >= self.used - len(self.scores[last]):
            return last
        if self.counts is None:
            self.counts = Counts(self.scores)
        return self.counts.block_of(rank)

    def _gather(self, lists: list[list[Any]], start: int, stop: int) -> list[Any]:
        start = max(0, start)
        stop = min(stop, self.used)
        if start >= stop:
            return []
        block = self._block_at(start)
        index = start - self._before(block)
        wanted = stop - start
        found = lists[block][index : index + wanted]
        while len(found) < wanted:
            block += 1
            found += lists[block][: wanted - len(found)]
        return found

    def _delete(self, block: int, index: int) -> int:
        scores = self.scores[block]
        del scores[index]
        del self.members[block][index]
        self.used -= 1
        left = len(scores)
        if left == 0 and len(self.scores) > 1:
            del self.scores[block]
            del self.members[block]
            self.counts = None
            return 0
        if self.counts is not None:
            self.counts.add(block, -1)
        if left < _BLOCK // 4 and len(self.scores) > 1:
            self._join(block)
        return 0

    def _join(self, block: int) -> int:
        """Joins a small block with a neighbour, where both together are at most half a block."""
        if block + 1 == len(self.scores):
            block -= 1
        if block < 0 or len(self.scores[block]) + len(self.scores[block + 1]) > _BLOCK // 2:
            return 0
        self.scores[block] += self.scores[block + 1]
        self.members[block] += self.members[block + 1]
        del self.scores[block + 1]
        del self.members[block + 1]
        self.counts = None
        return 0

    def _cut(self, block: int, index: int) -> int:
        """Cuts a block that grew too long at `index`: at its end where pairs arrive in order."""
        scores = self.scores[block]
        members = self.members[block]
        at = len(scores) // 2
        if index == len(scores) - 1 and block == len(self.scores) - 1:
            at = index
        elif index == 0 and block == 0:
            at = 1
        self.scores.insert(block + 1, scores[at:])
        self.members.insert(block + 1, members[at:])
        del scores[at:]
        del members[at:]
        self.counts = None
        return 0


def blocks_of(members: list[bytes], scores: list[float]) -> SortedBlocks:
    """The pairs of these members, none of them twice, with their scores, in any order."""
    return SortedBlocks(zip(scores, members))
