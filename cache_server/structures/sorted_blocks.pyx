# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""SortedBlocks, compiled: what `sorted_blocks.py` says, with scores as plain doubles.

`sorted_blocks.py` is the specification and the pure twin; the tests run on both. What differs is the
memory: a search over lists of floats misses the cache twice at every step, once for the list and once
for the float. Here the scores of a block lie side by side, and so do the last scores of all blocks.

    blocks [ * ] [ * ] [ * ]          lasts [2.0] [3.5] [9.0]      tree: Fenwick, when `counted`
             |
    block  size, capacity
           scores   [1.0][1.0][2.0]          doubles
           members  [ * ][ * ][ * ]          owned references to bytes

A block's room doubles up to SORTED_BLOCK_PAIRS, so that a set of three members stays small. Members
are bytes, which refer to nothing, so the cyclic collector need not know of them.

Invariants: as in `sorted_blocks.py`; `lasts[i]` is the score of the last pair of block i where it has
one; `tree` says the lengths of the blocks while `counted`.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.math cimport INFINITY, nextafter
from libc.string cimport memcmp, memcpy, memmove

from cache_server.constants import SORTED_BLOCK_PAIRS

cdef Py_ssize_t BLOCK = SORTED_BLOCK_PAIRS
DEF ROOM_LEAST = 4


cdef inline int compared(PyObject *left, PyObject *right) noexcept:
    """-1, 0 or 1: the order of bytes."""
    cdef Py_ssize_t one = PyBytes_GET_SIZE(<object>left)
    cdef Py_ssize_t two = PyBytes_GET_SIZE(<object>right)
    cdef int result = memcmp(
        PyBytes_AS_STRING(<object>left), PyBytes_AS_STRING(<object>right), min(one, two))
    if result:
        return 1 if result > 0 else -1
    return (one > two) - (one < two)


cdef inline Py_ssize_t place_in(Block *block, double point, PyObject *member) noexcept:
    """Where in the block the pair is or would be."""
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = block.size
    cdef Py_ssize_t middle
    cdef double value
    while low < high:
        middle = (low + high) >> 1
        value = block.scores[middle]
        if value < point or (value == point and compared(block.members[middle], member) < 0):
            low = middle + 1
        else:
            high = middle
    return low


cdef Block *new_block(Py_ssize_t capacity) except NULL:
    cdef Block *block = <Block *>PyMem_RawMalloc(sizeof(Block))
    if block == NULL:
        raise MemoryError
    block.size = block.capacity = 0
    block.scores = NULL
    block.members = NULL
    try:
        reserve(block, capacity)
    except MemoryError:
        free_block(block)
        raise
    return block


cdef int reserve(Block *block, Py_ssize_t capacity) except -1:
    """Makes room for `capacity` pairs."""
    cdef void *grown
    if capacity <= block.capacity:
        return 0
    grown = PyMem_RawRealloc(block.scores, capacity * sizeof(double))
    if grown == NULL:
        raise MemoryError
    block.scores = <double *>grown
    grown = PyMem_RawRealloc(block.members, capacity * sizeof(PyObject *))
    if grown == NULL:
        raise MemoryError
    block.members = <PyObject **>grown
    block.capacity = capacity
    return 0


cdef void free_block(Block *block) noexcept:
    """Frees a block whose members are owned by nobody or somewhere else."""
    PyMem_RawFree(block.scores)
    PyMem_RawFree(block.members)
    PyMem_RawFree(block)


cdef void copy_pairs(Block *target, Py_ssize_t to, Block *source, Py_ssize_t start, Py_ssize_t size) noexcept:
    memcpy(target.scores + to, source.scores + start, size * sizeof(double))
    memcpy(target.members + to, source.members + start, size * sizeof(PyObject *))


cdef void close_gap(Block *block, Py_ssize_t start, Py_ssize_t size) noexcept:
    """Takes `size` pairs out of the block; their members are the caller's."""
    cdef Py_ssize_t rest = block.size - start - size
    memmove(block.scores + start, block.scores + start + size, rest * sizeof(double))
    memmove(block.members + start, block.members + start + size, rest * sizeof(PyObject *))
    block.size -= size


@cython.no_gc
cdef class SortedBlocks:
    """Pairs (score, member) in ascending order of score, then of the member's bytes."""

    def __cinit__(self):
        self.blocks = NULL
        self.lasts = NULL
        self.tree = NULL
        self.count = self.room = self.used = self.tree_room = 0
        self.counted = False
        self.insert_block(0, new_block(0))

    def __init__(self, pairs=()):
        """`pairs` may be in any order, none of them twice."""
        cdef list ordered = sorted(pairs)
        cdef Py_ssize_t total = len(ordered)
        cdef Py_ssize_t index, place
        cdef Block *block
        cdef bytes member
        if total == 0:
            return
        self.release()
        for index in range((total + BLOCK - 1) // BLOCK):
            block = new_block(min(BLOCK, total - index * BLOCK))
            self.insert_block(index, block)
            for place in range(block.capacity):
                score, member = ordered[index * BLOCK + place]
                block.scores[place] = score
                Py_INCREF(member)
                block.members[place] = <PyObject *>member
                block.size += 1
            self.lasts[index] = block.scores[block.size - 1]
        self.used = total

    def __dealloc__(self):
        self.release()
        PyMem_RawFree(self.blocks)
        PyMem_RawFree(self.lasts)
        PyMem_RawFree(self.tree)

    cdef void release(self) noexcept:
        """Frees all blocks; the order is not usable before it has one again."""
        cdef Py_ssize_t index, place
        cdef Block *block
        for index in range(self.count):
            block = self.blocks[index]
            for place in range(block.size):
                Py_DECREF(<object>block.members[place])
            free_block(block)
        self.count = self.used = 0
        self.counted = False

    def __len__(self):
        return self.used

    def items(self):
        """(member, score) in ascending order. Not for use while pairs change."""
        cdef Py_ssize_t index = 0
        cdef Py_ssize_t place
        while index < self.count:
            pairs = [self.pair(index, place) for place in range(self.blocks[index].size)]
            yield from pairs
            index += 1

    def copy(self):
        """The same pairs in blocks of its own."""
        cdef SortedBlocks twin = SortedBlocks()
        cdef Py_ssize_t index, place
        cdef Block *block
        cdef Block *source
        twin.release()
        for index in range(self.count):
            source = self.blocks[index]
            block = new_block(source.size)
            twin.insert_block(index, block)
            copy_pairs(block, 0, source, 0, source.size)
            for place in range(source.size):
                Py_INCREF(<object>block.members[place])
            block.size = source.size
            twin.lasts[index] = self.lasts[index]
        twin.used = self.used
        return twin

    cpdef list block_sizes(self):
        """How many pairs each block holds."""
        cdef Py_ssize_t index
        return [self.blocks[index].size for index in range(self.count)]

    @property
    def memory_bytes(self):
        """Bytes of the structure itself, without the members."""
        cdef Py_ssize_t index
        cdef Py_ssize_t total = 96 + self.room * 16 + self.tree_room * 8
        for index in range(self.count):
            total += sizeof(Block) + self.blocks[index].capacity * 16
        return total

    # -- one pair ------------------------------------------------------------------------------

    cpdef add(self, double score, bytes member):
        """Puts a pair that is not there yet."""
        cdef Py_ssize_t index = self.block_for(score, <PyObject *>member)
        cdef Block *block = self.blocks[index]
        cdef Py_ssize_t place = place_in(block, score, <PyObject *>member)
        cdef Py_ssize_t rest = block.size - place
        if block.size == block.capacity:
            reserve(block, block.size + 1 if block.size >= BLOCK else max(ROOM_LEAST, min(2 * block.size, BLOCK)))
        memmove(block.scores + place + 1, block.scores + place, rest * sizeof(double))
        memmove(block.members + place + 1, block.members + place, rest * sizeof(PyObject *))
        block.scores[place] = score
        Py_INCREF(member)
        block.members[place] = <PyObject *>member
        block.size += 1
        self.used += 1
        if rest == 0:
            self.lasts[index] = score
        if self.counted:
            self.count_one(index, 1)
        if block.size > BLOCK:
            self.cut(index, place)

    cpdef remove(self, double score, bytes member):
        """Takes a pair out. Raises KeyError where it is not there."""
        cdef Py_ssize_t index = self.block_for(score, <PyObject *>member)
        cdef Block *block = self.blocks[index]
        cdef Py_ssize_t place = place_in(block, score, <PyObject *>member)
        if place == block.size or compared(block.members[place], <PyObject *>member) != 0:
            raise KeyError(member)
        self.delete(index, place)

    cpdef move(self, double old, double new, bytes member):
        """Gives a member another score. Raises KeyError where (old, member) is not there."""
        cdef Py_ssize_t index = self.block_for(old, <PyObject *>member)
        cdef Block *block = self.blocks[index]
        cdef Py_ssize_t place = place_in(block, old, <PyObject *>member)
        cdef Py_ssize_t last = block.size - 1
        if place > last or compared(block.members[place], <PyObject *>member) != 0:
            raise KeyError(member)
        # At the ends of a block the neighbours are elsewhere: there the long way is taken.
        if 0 < place < last and block.scores[place - 1] < new < block.scores[place + 1]:
            block.scores[place] = new
            return
        held = <object>block.members[place]  # the object that the set's table holds too
        self.delete(index, place)
        self.add(new, held)

    cpdef tuple pop_first(self):
        """Takes out the lowest pair. Raises IndexError when there is none."""
        if self.used == 0:
            raise IndexError("pop from an empty order")
        result = self.pair(0, 0)
        self.delete(0, 0)
        return result

    cpdef tuple pop_last(self):
        """Takes out the highest pair. Raises IndexError when there is none."""
        cdef Py_ssize_t index = self.count - 1
        if self.used == 0:
            raise IndexError("pop from an empty order")
        result = self.pair(index, self.blocks[index].size - 1)
        self.delete(index, self.blocks[index].size - 1)
        return result

    # -- ranks ---------------------------------------------------------------------------------

    cpdef Py_ssize_t rank(self, double score, bytes member) except -1:
        """How many pairs are below (score, member), whether or not it is there."""
        cdef Py_ssize_t index = self.block_for(score, <PyObject *>member)
        return self.before(index) + place_in(self.blocks[index], score, <PyObject *>member)

    cpdef Py_ssize_t rank_of_score(self, double score, bint after) except -1:
        """How many pairs have a score below `score`; with `after`, up to and including it."""
        if not after:
            return self.rank(score, b"")
        return self.used if score == INFINITY else self.rank(nextafter(score, INFINITY), b"")

    cpdef Py_ssize_t rank_of_name(self, bytes member, bint after) except -1:
        """How many members are below `member` (or up to it), in a set whose scores are all equal.

        Scores are not looked at, as in `sorted_blocks.py`."""
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.count - 1
        cdef Py_ssize_t middle, index
        cdef Block *block
        cdef int least = 1 if after else 0  # members that compare lower than this are counted
        while low < high:
            middle = (low + high) >> 1
            block = self.blocks[middle]
            if compared(block.members[block.size - 1], <PyObject *>member) < least:
                low = middle + 1
            else:
                high = middle
        index = low
        block = self.blocks[index]
        low = 0
        high = block.size
        while low < high:
            middle = (low + high) >> 1
            if compared(block.members[middle], <PyObject *>member) < least:
                low = middle + 1
            else:
                high = middle
        return self.before(index) + low

    cpdef tuple at(self, Py_ssize_t rank):
        """The pair of this rank, counted from 0. Raises IndexError."""
        cdef Py_ssize_t index
        if not 0 <= rank < self.used:
            raise IndexError(rank)
        index = self.block_at(rank)
        return self.pair(index, rank - self.before(index))

    # -- ranges of ranks -----------------------------------------------------------------------

    cpdef list member_slice(self, Py_ssize_t start, Py_ssize_t stop):
        """The members of ranks `start` to before `stop`, ascending, in a new list."""
        return self.gather(False, start, stop)

    cpdef list score_slice(self, Py_ssize_t start, Py_ssize_t stop):
        """The scores that go with `member_slice`."""
        return self.gather(True, start, stop)

    cpdef list remove_slice(self, Py_ssize_t start, Py_ssize_t stop):
        """Takes out the pairs of ranks `start` to before `stop`; returns their members."""
        cdef list removed = self.member_slice(start, stop)
        cdef Py_ssize_t left = len(removed)
        cdef Py_ssize_t first, index, place, taken, i, kept
        cdef Block *block
        if left == 0:
            return removed
        first = index = self.block_at(max(0, start))
        place = max(0, start) - self.before(first)
        self.counted = False
        self.used -= left
        while left:
            block = self.blocks[index]
            taken = min(left, block.size - place)
            for i in range(place, place + taken):
                Py_DECREF(<object>block.members[i])
            close_gap(block, place, taken)
            left -= taken
            place = 0
            index += 1
        # The emptied blocks go in one step; one of them stays where nothing else would.
        kept = first
        for i in range(first, self.count):
            block = self.blocks[i]
            if block.size == 0 and (kept > 0 or self.used > 0):
                free_block(block)
                continue
            self.blocks[kept] = block
            self.lasts[kept] = block.scores[block.size - 1] if block.size else 0.0
            kept += 1
        self.count = kept
        if first < kept:
            self.join(first)
        return removed

    # -- parts ---------------------------------------------------------------------------------

    cdef Py_ssize_t block_for(self, double point, PyObject *member) noexcept:
        """The first block whose last pair is not below the pair, or else the last block."""
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.count - 1
        cdef Py_ssize_t middle
        cdef double value
        cdef Block *block
        while low < high:
            middle = (low + high) >> 1
            value = self.lasts[middle]
            if value < point:
                low = middle + 1
            elif value > point:
                high = middle
            else:
                block = self.blocks[middle]
                if compared(block.members[block.size - 1], member) < 0:
                    low = middle + 1
                else:
                    high = middle
        return low

    cdef tuple pair(self, Py_ssize_t index, Py_ssize_t place):
        """(member, score)"""
        cdef Block *block = self.blocks[index]
        return <object>block.members[place], block.scores[place]

    cdef list gather(self, bint scores, Py_ssize_t start, Py_ssize_t stop):
        cdef Py_ssize_t index, place, i
        cdef Block *block
        cdef object item
        cdef list found
        start = max(0, start)
        stop = min(stop, self.used)
        if start >= stop:
            return []
        index = self.block_at(start)
        place = start - self.before(index)
        block = self.blocks[index]
        found = PyList_New(stop - start)
        for i in range(stop - start):
            if place == block.size:
                index += 1
                block = self.blocks[index]
                place = 0
            item = PyFloat_FromDouble(block.scores[place]) if scores else <object>block.members[place]
            Py_INCREF(item)
            PyList_SET_ITEM(found, i, item)
            place += 1
        return found

    cdef Py_ssize_t before(self, Py_ssize_t index) except -1:
        """Pairs in the blocks before this one. The ends need no counts."""
        cdef Py_ssize_t total = 0
        if index == 0:
            return 0
        if index == self.count - 1:
            return self.used - self.blocks[index].size
        self.make_counts()
        while index > 0:
            total += self.tree[index]
            index -= index & -index
        return total

    cdef Py_ssize_t block_at(self, Py_ssize_t rank) except -1:
        """The block of an existing rank. The ends need no counts."""
        cdef Py_ssize_t index = 0
        cdef Py_ssize_t step = 1
        if rank < self.blocks[0].size:
            return 0
        if rank >= self.used - self.blocks[self.count - 1].size:
            return self.count - 1
        self.make_counts()
        while step * 2 <= self.count:
            step *= 2
        while step:
            if index + step <= self.count and self.tree[index + step] <= rank:
                index += step
                rank -= self.tree[index]
            step >>= 1
        return index

    cdef int make_counts(self) except -1:
        """Makes the Fenwick tree where it does not hold: `tree[i]` from block i - 1 down."""
        cdef Py_ssize_t index, above
        cdef void *grown
        if self.counted:
            return 0
        if self.tree_room <= self.count:
            grown = PyMem_RawRealloc(self.tree, (self.room + 1) * sizeof(Py_ssize_t))
            if grown == NULL:
                raise MemoryError
            self.tree = <Py_ssize_t *>grown
            self.tree_room = self.room + 1
        for index in range(1, self.count + 1):
            self.tree[index] = self.blocks[index - 1].size
        for index in range(1, self.count + 1):
            above = index + (index & -index)
            if above <= self.count:
                self.tree[above] += self.tree[index]
        self.counted = True
        return 0

    cdef void count_one(self, Py_ssize_t index, Py_ssize_t change) noexcept:
        """The length of the block changed."""
        index += 1
        while index <= self.count:
            self.tree[index] += change
            index += index & -index

    cdef int insert_block(self, Py_ssize_t index, Block *block) except -1:
        """Puts a block into the list and owns it from then on, even where it raises."""
        cdef void *grown
        cdef Py_ssize_t room
        if self.count == self.room:
            room = self.room + 1 + (self.room >> 2)
            grown = PyMem_RawRealloc(self.blocks, room * sizeof(Block *))
            if grown != NULL:
                self.blocks = <Block **>grown
                grown = PyMem_RawRealloc(self.lasts, room * sizeof(double))
            if grown == NULL:
                free_block(block)
                raise MemoryError
            self.lasts = <double *>grown
            self.room = room
        memmove(self.blocks + index + 1, self.blocks + index, (self.count - index) * sizeof(Block *))
        memmove(self.lasts + index + 1, self.lasts + index, (self.count - index) * sizeof(double))
        self.blocks[index] = block
        self.lasts[index] = 0.0
        self.count += 1
        self.counted = False
        return 0

    cdef void drop_block(self, Py_ssize_t index) noexcept:
        """Takes a block out of the list and frees it; its members are not its own any more."""
        free_block(self.blocks[index])
        self.count -= 1
        memmove(self.blocks + index, self.blocks + index + 1, (self.count - index) * sizeof(Block *))
        memmove(self.lasts + index, self.lasts + index + 1, (self.count - index) * sizeof(double))
        self.counted = False

    cdef int delete(self, Py_ssize_t index, Py_ssize_t place) except -1:
        cdef Block *block = self.blocks[index]
        cdef PyObject *member = block.members[place]
        close_gap(block, place, 1)
        Py_DECREF(<object>member)
        self.used -= 1
        if block.size == 0:
            if self.count > 1:
                self.drop_block(index)
            return 0
        if place == block.size:
            self.lasts[index] = block.scores[place - 1]
        if self.counted:
            self.count_one(index, -1)
        if block.size < BLOCK // 4 and self.count > 1:
            self.join(index)
        return 0

    cdef bint append(self, Block *block, double score, bytes member) except *:
        """Adds to the last block, which has room; False where the pair is not behind all others."""
        cdef Block *last = block
        if block.size == 0 and self.count > 1:
            last = self.blocks[self.count - 2]
        if last.size and not (
            last.scores[last.size - 1] < score
            or (last.scores[last.size - 1] == score
                and compared(last.members[last.size - 1], <PyObject *>member) < 0)
        ):
            return False
        block.scores[block.size] = score
        Py_INCREF(member)
        block.members[block.size] = <PyObject *>member
        block.size += 1
        self.used += 1
        return True

    cdef int join(self, Py_ssize_t index) except -1:
        """Joins a small block with a neighbour, where both together are at most half a block."""
        cdef Block *low
        cdef Block *high
        if index + 1 == self.count:
            index -= 1
        if index < 0:
            return 0
        low = self.blocks[index]
        high = self.blocks[index + 1]
        if low.size + high.size > BLOCK // 2:
            return 0
        reserve(low, low.size + high.size)
        copy_pairs(low, low.size, high, 0, high.size)
        low.size += high.size
        self.lasts[index] = low.scores[low.size - 1]
        self.drop_block(index + 1)
        return 0

    cdef int cut(self, Py_ssize_t index, Py_ssize_t place) except -1:
        """Cuts a block that grew too long at `place`: at its end where pairs arrive in order."""
        cdef Block *low = self.blocks[index]
        cdef Py_ssize_t at = low.size // 2
        cdef Block *high
        if place == low.size - 1 and index == self.count - 1:
            at = place
        elif place == 0 and index == 0:
            at = 1
        high = new_block(max(ROOM_LEAST, low.size - at))
        self.insert_block(index + 1, high)
        high.size = low.size - at
        copy_pairs(high, 0, low, at, high.size)
        low.size = at
        self.lasts[index] = low.scores[at - 1]
        self.lasts[index + 1] = high.scores[high.size - 1]
        return 0


cpdef SortedBlocks blocks_of(list members, list scores):
    """The pairs of these members, none of them twice, with their scores, in any order.

    Pairs that come in order, or the highest first as Redis writes them, are not sorted."""
    cdef SortedBlocks order = SortedBlocks()
    cdef Py_ssize_t total = len(members)
    cdef Py_ssize_t at = 0
    cdef Block *block
    if total > 1 and <double>scores[0] > <double>scores[total - 1]:
        members, scores = members[::-1], scores[::-1]
    while at < total:
        if at:
            order.insert_block(order.count, new_block(min(BLOCK, total - at)))
        block = order.blocks[order.count - 1]
        reserve(block, min(BLOCK, total - at))
        while block.size < block.capacity:
            if not order.append(block, scores[at], members[at]):
                return SortedBlocks(zip(scores, members))
            at += 1
        order.lasts[order.count - 1] = block.scores[block.size - 1]
    return order
