# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Table, compiled: what `table.py` says, with buckets of its own instead of small dicts.

`table.py` is the specification and the pure twin; the tests run on both. What differs is the memory:
a look-up in a large table is a walk through lines that are not in the cache, and a dict costs three
of them before the key is reached. Here it is one.

    a table of up to SMALL_KEYS keys is one dict, in order of insertion. Beyond that:

    segments [0] [1] ...          32 buckets each, reached through a small directory
    bucket, 128 bytes = two neighbouring cache lines:
        tags[8]   8 bits of the hash of each key (0: free); tags[7] is 1 when a bucket hangs on it
        keys[7]   8 bytes each: the first line ends here
        more      the bucket that hangs on it, for more than seven keys
        values[7] in the second line

A tag is compared before a key is touched, so a key that is not there costs one line, and one that
is there two (bucket and key) before its value.

Invariants: as in `table.py`; `small` is None exactly when there are segments; a bucket's tag is 0
exactly when its key is NULL; a key occurs once in its chain.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyObject_Hash
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc
from cpython.ref cimport Py_INCREF, Py_DECREF, Py_XDECREF
from libc.string cimport memcmp

from cache_server.constants import TABLE_SMALL_KEYS

cdef extern from *:
    """
    #define TABLE_PREFETCH(p) __builtin_prefetch(p)
    """
    void TABLE_PREFETCH(void *p) nogil

cdef Py_ssize_t SMALL_KEYS = TABLE_SMALL_KEYS

DEF SLOTS = 7  # as in table.pxd
DEF SEGMENT_BITS = 5
DEF SEGMENT = 32
#: Keys per bucket on average that the table grows at, and a quarter of which it shrinks at.
DEF LOAD = 4
DEF FIRST_BUCKETS = 32

cdef inline unsigned char tag_of(Py_hash_t code) noexcept:
    """The top byte of the hash, never 0."""
    cdef unsigned char tag = <unsigned char>((<unsigned long>code) >> 56)
    return tag if tag else 1


cdef inline bint same_key(PyObject *held, PyObject *key) noexcept:
    if held == key:
        return True
    cdef Py_ssize_t size = PyBytes_GET_SIZE(<object>key)
    return PyBytes_GET_SIZE(<object>held) == size and memcmp(
        PyBytes_AS_STRING(<object>held), PyBytes_AS_STRING(<object>key), size) == 0


cdef inline unsigned long next_random(unsigned long *state) noexcept:
    """64 random bits: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom generators)."""
    cdef unsigned long mixed
    state[0] += 0x9E3779B97F4A7C15UL
    mixed = state[0]
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9UL
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBUL
    return mixed ^ (mixed >> 31)


cdef unsigned long reverse_bits(unsigned long value) noexcept:
    """The low 32 bits of `value` in reverse order."""
    value = ((value >> 1) & 0x55555555) | ((value & 0x55555555) << 1)
    value = ((value >> 2) & 0x33333333) | ((value & 0x33333333) << 2)
    value = ((value >> 4) & 0x0F0F0F0F) | ((value & 0x0F0F0F0F) << 4)
    value = ((value >> 8) & 0x00FF00FF) | ((value & 0x00FF00FF) << 8)
    return ((value >> 16) & 0xFFFF) | ((value & 0xFFFF) << 16)


@cython.no_gc
cdef class Table:
    """A mapping of bytes to any object. Not for iteration while it is changed, except by `scan`."""

    def __cinit__(self):
        self.small = {}
        self.segments = NULL
        self.count = 1
        self.used = 0
        self.mask = 0
        self.frozen = 0

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept:
        """Frees all buckets and what they hold."""
        cdef Py_ssize_t i
        cdef int s
        cdef Bucket *bucket
        cdef Bucket *more
        if self.segments == NULL:
            return
        for i in range(self.count):
            bucket = self.bucket_at(i)
            for s in range(SLOTS):
                if bucket.tags[s]:
                    Py_DECREF(<object>bucket.keys[s])
                    Py_DECREF(<object>bucket.values[s])
            bucket = bucket.more
            while bucket != NULL:
                more = bucket.more
                for s in range(SLOTS):
                    if bucket.tags[s]:
                        Py_DECREF(<object>bucket.keys[s])
                        Py_DECREF(<object>bucket.values[s])
                PyMem_RawFree(bucket)
                bucket = more
        for i in range((self.count + SEGMENT - 1) >> SEGMENT_BITS):
            PyMem_RawFree(self.segments[i])
        PyMem_RawFree(self.segments)
        self.segments = NULL

    def __len__(self):
        return self.used

    def __contains__(self, bytes key):
        if self.small is not None:
            return key in self.small
        return self.find_slot(key) >= 0

    def __iter__(self):
        cdef Py_ssize_t i
        if self.small is not None:
            yield from self.small
        else:
            for i in range(self.count):
                yield from self.bucket_keys(i)

    cdef inline Bucket *bucket_at(self, Py_ssize_t index) noexcept:
        return &self.segments[index >> SEGMENT_BITS][index & (SEGMENT - 1)]

    cdef inline Py_ssize_t index_of(self, Py_hash_t code) noexcept:
        cdef Py_ssize_t index = code & self.mask
        if index >= self.count:
            index = code & (self.mask >> 1)
        return index

    cpdef Py_ssize_t bucket_index(self, bytes key) except -1:
        """The number of the bucket where `key` is or would be."""
        if self.small is not None:
            return 0
        return self.index_of(PyObject_Hash(key))

    cpdef Py_ssize_t bucket_count(self) except -1:
        """How many buckets there are."""
        return self.count

    cpdef list bucket_items(self, Py_ssize_t index):
        """The keys and values of one bucket, in a new list of pairs. Raises IndexError."""
        cdef list result = []
        cdef Bucket *bucket
        cdef int s
        if not 0 <= index < self.count:
            raise IndexError(index)
        if self.small is not None:
            return list(self.small.items())
        bucket = self.bucket_at(index)
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s]:
                    result.append((<object>bucket.keys[s], <object>bucket.values[s]))
            bucket = bucket.more
        return result

    cpdef list bucket_keys(self, Py_ssize_t index):
        """The keys of one bucket, in a new list."""
        cdef list result = []
        if self.small is not None:
            return list(self.small)
        self.add_keys(index, result)
        return result

    cdef add_keys(self, Py_ssize_t index, list result):
        cdef Bucket *bucket = self.bucket_at(index)
        cdef int s
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s]:
                    result.append(<object>bucket.keys[s])
            bucket = bucket.more

    cdef inline int find_slot(self, bytes key) except -2:
        """Finds the key: `self.at` and the slot, or -1."""
        cdef Py_hash_t code = PyObject_Hash(key)
        cdef unsigned char tag = tag_of(code)
        cdef Bucket *bucket = self.bucket_at(self.index_of(code))
        cdef int s
        TABLE_PREFETCH(&bucket.values[0])
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s] == tag and same_key(bucket.keys[s], <PyObject *>key):
                    self.at = bucket
                    return s
            bucket = bucket.more
        return -1

    cpdef get(self, bytes key):
        """The value of `key`, or None."""
        cdef int s
        if self.small is not None:
            return self.small.get(key)
        s = self.find_slot(key)
        if s < 0:
            return None
        return <object>self.at.values[s]

    cpdef bint set(self, bytes key, value) except *:
        """Puts the value; True when the key is new."""
        cdef Py_ssize_t before
        cdef int s
        cdef PyObject *old
        if self.small is not None:
            before = len(self.small)
            self.small[key] = value
            if len(self.small) == before:
                return False
            self.used += 1
            if self.used > SMALL_KEYS and not self.frozen:
                self.grow_up()
            return True
        s = self.find_slot(key)
        if s >= 0:
            old = self.at.values[s]
            Py_INCREF(value)
            self.at.values[s] = <PyObject *>value
            Py_DECREF(<object>old)
            return False
        self.insert(key, value)
        self.used += 1
        if self.used > self.count * LOAD and not self.frozen:
            self.split()
        return True

    cdef int insert(self, bytes key, value) except -1:
        """Adds a key that is not there."""
        cdef Py_hash_t code = PyObject_Hash(key)
        Py_INCREF(key)
        Py_INCREF(value)
        return self.place(self.bucket_at(self.index_of(code)), tag_of(code), <PyObject *>key, <PyObject *>value)

    cdef int place(self, Bucket *bucket, unsigned char tag, PyObject *key, PyObject *value) except -1:
        """Puts a pair (its references are taken over) into the first free slot of a chain."""
        cdef int s
        while True:
            for s in range(SLOTS):
                if bucket.tags[s] == 0:
                    bucket.tags[s] = tag
                    bucket.keys[s] = key
                    bucket.values[s] = value
                    return 0
            if bucket.more == NULL:
                bucket.more = <Bucket *>PyMem_RawCalloc(1, sizeof(Bucket))
                if bucket.more == NULL:
                    raise MemoryError()
            bucket = bucket.more

    cpdef pop(self, bytes key):
        """Takes the key out and returns its value, or None where it was not there."""
        cdef int s
        cdef object value
        if self.small is not None:
            if key not in self.small:
                return None
            self.used -= 1
            return self.small.pop(key)
        s = self.find_slot(key)
        if s < 0:
            return None
        value = <object>self.at.values[s]
        self.remove(key, s)
        return value

    cpdef bint discard(self, bytes key) except *:
        """Takes the key out; False where it was not there."""
        cdef int s
        if self.small is not None:
            if key not in self.small:
                return False
            self.used -= 1
            del self.small[key]
            return True
        s = self.find_slot(key)
        if s < 0:
            return False
        self.remove(key, s)
        return True

    cdef int remove(self, bytes key, int slot) except -1:
        """Empties the slot that `find_slot` found, and a bucket that hung on for it alone."""
        cdef Bucket *bucket = self.at
        cdef PyObject *held_key = bucket.keys[slot]
        cdef PyObject *held_value = bucket.values[slot]
        cdef Bucket *first
        cdef int s
        bucket.tags[slot] = 0
        bucket.keys[slot] = NULL
        bucket.values[slot] = NULL
        first = self.bucket_at(self.index_of(PyObject_Hash(key)))
        if first.more != NULL:
            self.tidy(first)
        self.used -= 1
        if self.used < self.count * LOAD // 4 and not self.frozen:
            if self.used <= SMALL_KEYS // 2:
                self.shrink_down()
            elif self.count > FIRST_BUCKETS:
                self.merge()
        Py_DECREF(<object>held_key)
        Py_DECREF(<object>held_value)
        return 0

    cdef void tidy(self, Bucket *bucket) noexcept:
        """Takes empty buckets out of a chain."""
        cdef Bucket *more
        cdef int s
        cdef bint empty
        while bucket.more != NULL:
            more = bucket.more
            empty = True
            for s in range(SLOTS):
                if more.tags[s]:
                    empty = False
            if empty:
                bucket.more = more.more
                PyMem_RawFree(more)
            else:
                bucket = more

    cpdef clear(self):
        self.release()
        self.small = {}
        self.count = 1
        self.used = 0
        self.mask = 0

    def items(self):
        cdef Py_ssize_t i
        if self.small is not None:
            yield from self.small.items()
        else:
            for i in range(self.count):
                yield from self.bucket_items(i)

    def values(self):
        for _, value in self.items():
            yield value

    cpdef list flat_items(self):
        """Every key and its value, one after the other, in a new list."""
        cdef list result = []
        cdef Py_ssize_t i
        cdef int s
        cdef Bucket *bucket
        if self.small is not None:
            for key, value in self.small.items():
                result.append(key)
                result.append(value)
            return result
        for i in range(self.count):
            bucket = self.bucket_at(i)
            while bucket != NULL:
                for s in range(SLOTS):
                    if bucket.tags[s]:
                        result.append(<object>bucket.keys[s])
                        result.append(<object>bucket.values[s])
                bucket = bucket.more
        return result

    cpdef list keys_list(self):
        """All keys in a new list."""
        cdef list result = []
        cdef Py_ssize_t i
        if self.small is not None:
            return list(self.small)
        for i in range(self.count):
            self.add_keys(i, result)
        return result

    cpdef tuple scan(self, unsigned long cursor, Py_ssize_t count):
        """At least `count` keys from `cursor` on (fewer at the end), and the next cursor, 0 at the end.

        Whole buckets are returned, so there may be up to a bucket more; a key may come twice."""
        cdef list keys = []
        cdef Py_ssize_t index
        if self.small is not None:
            return 0, list(self.small)
        cursor &= 0xFFFFFFFF
        while True:
            index = self.index_of(reverse_bits(cursor))
            self.add_keys(index, keys)
            cursor = reverse_bits(index) + (<unsigned long>1 << (32 - self.depth(index)))
            if cursor >= (<unsigned long>1 << 32):
                return 0, keys
            if len(keys) >= count:
                return cursor, keys

    cpdef random_key(self, rng):
        """A key, each with the same probability; None when empty."""
        cdef Py_ssize_t wanted
        cdef unsigned long state, drawn
        cdef Bucket *bucket
        if self.used == 0:
            return None
        if self.small is not None:
            wanted = <Py_ssize_t>(<double>rng.random() * self.used)
            for key in self.small:
                if wanted == 0:
                    return key
                wanted -= 1
        # A bucket and a position in it are drawn until there is a key: each key is as likely as any
        # other as long as no bucket holds more keys than positions are drawn from. One draw in
        # eight or so meets a key, so they come from a generator of ours, seeded by the caller's.
        state = rng.getrandbits(64)
        while True:
            drawn = next_random(&state)
            bucket = self.bucket_at(<Py_ssize_t>(((drawn >> 32) * <unsigned long>self.count) >> 32))
            wanted = <Py_ssize_t>(((drawn & 0xFFFFFFFFUL) * (4 * SLOTS)) >> 32)
            while wanted >= SLOTS and bucket != NULL:
                bucket = bucket.more
                wanted -= SLOTS
            if bucket != NULL and bucket.tags[wanted]:
                return <object>bucket.keys[wanted]

    cdef int depth(self, Py_ssize_t index) noexcept:
        """How many low bits of the hash decide for bucket `index`."""
        cdef int level = 0
        cdef Py_ssize_t half = (self.mask + 1) >> 1
        while (<Py_ssize_t>1 << level) <= self.mask:
            level += 1
        if index >= half or index + half < self.count:
            return level
        return level - 1

    # -- growing and shrinking: one bucket at a time ------------------------------------------------

    cdef int reserve(self, Py_ssize_t count) except -1:
        """Makes sure that there is a segment for bucket number `count - 1`."""
        cdef Py_ssize_t have = (self.count + SEGMENT - 1) >> SEGMENT_BITS
        cdef Py_ssize_t want = (count + SEGMENT - 1) >> SEGMENT_BITS
        cdef Bucket **grown
        if self.segments == NULL:
            have = 0
        if want <= have:
            return 0
        if have == 0 or (have & (have - 1)) == 0:
            # The directory doubles; it is 8 bytes for 128 keys.
            grown = <Bucket **>PyMem_RawRealloc(self.segments, 2 * want * sizeof(Bucket *))
            if grown == NULL:
                raise MemoryError()
            self.segments = grown
        self.segments[have] = <Bucket *>PyMem_RawCalloc(SEGMENT, sizeof(Bucket))
        if self.segments[have] == NULL:
            raise MemoryError()
        return 0

    cdef int grow_up(self) except -1:
        """The small dict becomes buckets."""
        cdef dict small = self.small
        self.reserve(FIRST_BUCKETS)
        self.small = None
        self.count = FIRST_BUCKETS
        self.mask = FIRST_BUCKETS - 1
        for key, value in small.items():
            self.insert(key, value)
        return 0

    cdef int shrink_down(self) except -1:
        """The buckets become a small dict again."""
        cdef dict small = dict(self.items())
        self.release()
        self.small = small
        self.count = 1
        self.mask = 0
        return 0

    cdef int split(self) except -1:
        cdef Py_ssize_t new = self.count
        cdef Py_ssize_t half
        cdef Bucket *low
        cdef Bucket *high
        cdef Bucket *bucket
        cdef Py_hash_t code
        cdef int s
        self.reserve(new + 1)
        if new > self.mask:
            self.mask = self.mask * 2 + 1
        half = (self.mask + 1) >> 1
        self.count = new + 1
        low = self.bucket_at(new - half)
        high = self.bucket_at(new)
        bucket = low
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s]:
                    code = PyObject_Hash(<object>bucket.keys[s])
                    if code & half:
                        self.place(high, bucket.tags[s], bucket.keys[s], bucket.values[s])
                        bucket.tags[s] = 0
                        bucket.keys[s] = NULL
                        bucket.values[s] = NULL
            bucket = bucket.more
        if low.more != NULL:
            self.pack(low)
        return 0

    cdef int pack(self, Bucket *first) except -1:
        """Moves the keys of a chain to its beginning, and frees what is empty then."""
        cdef Bucket *bucket = first.more
        cdef int s
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s]:
                    self.move_forward(first, bucket, s)
            bucket = bucket.more
        self.tidy(first)
        return 0

    cdef void move_forward(self, Bucket *first, Bucket *bucket, int slot) noexcept:
        """Moves one pair to the first free slot of the chain before it."""
        cdef Bucket *target = first
        cdef int s
        while target != bucket:
            for s in range(SLOTS):
                if target.tags[s] == 0:
                    target.tags[s] = bucket.tags[slot]
                    target.keys[s] = bucket.keys[slot]
                    target.values[s] = bucket.values[slot]
                    bucket.tags[slot] = 0
                    bucket.keys[slot] = NULL
                    bucket.values[slot] = NULL
                    return
            target = target.more

    cdef int merge(self) except -1:
        """The last bucket joins its sibling."""
        cdef Py_ssize_t last = self.count - 1
        cdef Py_ssize_t half = (self.mask + 1) >> 1
        cdef Bucket *target = self.bucket_at(last - half)
        cdef Bucket *bucket = self.bucket_at(last)
        cdef Bucket *more
        cdef Bucket *first = bucket
        cdef int s
        while bucket != NULL:
            more = bucket.more
            for s in range(SLOTS):
                if bucket.tags[s]:
                    self.place(target, bucket.tags[s], bucket.keys[s], bucket.values[s])
                    bucket.tags[s] = 0
                    bucket.keys[s] = NULL
                    bucket.values[s] = NULL
            if bucket != first:
                PyMem_RawFree(bucket)
            bucket = more
        first.more = NULL
        self.count = last
        if last <= half:
            self.mask >>= 1
        if last & (SEGMENT - 1) == 0:
            PyMem_RawFree(self.segments[last >> SEGMENT_BITS])
        return 0

    @property
    def memory_bytes(self):
        """Bytes of the table itself, without keys and values."""
        if self.small is not None:
            return self.small.__sizeof__() + 96
        return ((self.count + SEGMENT - 1) >> SEGMENT_BITS) * SEGMENT * sizeof(Bucket) + 96
