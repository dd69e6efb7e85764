# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Table, compiled: what `table.py` says, with buckets of its own instead of small dicts.

`table.py` is the specification and the pure twin; the tests run on both. What differs is the memory:
a look-up in a large table is a walk through lines that are not in the cache, and a dict costs three
of them before the key is reached. Here it is one.

    a table of up to SMALL_KEYS keys is one dict, in order of insertion. Beyond that:

    segments [0] [1] ...          32 buckets each, reached through a small directory
    bucket, 128 bytes = two neighbouring cache lines:
        tags[8]   8 bits of the hash of each key (0: free); tags[7] is 1 when a bucket hangs on it,
                  for more than seven keys: keys[6] is its address then, and tags[6] is 0
        keys[7]   8 bytes each: the first line ends here
        values[7] in the second line

A tag is compared before a key is touched, so a key that is not there costs one line, and one that
is there two (bucket and key) before its value.

A table of entries (`Table.of_entries`, the keyspace's) holds `Entry` objects, in which the key's
bytes lie: its buckets are the first line alone, with a pointer to the entry in place of the key.

Invariants: as in `table.py`; `small` is None exactly when there are segments; a slot's tag is 0
exactly when it holds no key; a key occurs once in its chain.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyObject_Hash
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc
from cpython.ref cimport Py_INCREF, Py_DECREF, Py_XDECREF
from libc.string cimport memcmp

from cache_server.constants import TABLE_SMALL_KEYS
from cache_server.structures.entry cimport Entry

cdef extern from *:
    """
    #define TABLE_PREFETCH(p) __builtin_prefetch(p)
    #define TABLE_DICT_FOR(count) __Pyx_PyDict_NewPresized(count)
    """
    void TABLE_PREFETCH(void *p) nogil
    dict TABLE_DICT_FOR(Py_ssize_t count)

cdef Py_ssize_t SMALL_KEYS = TABLE_SMALL_KEYS
cdef Py_ssize_t sizeof_entry = Entry.__basicsize__

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


cdef inline char *entry_key(PyObject *entry) noexcept:
    return <char *>entry + sizeof_entry


cdef inline void fetch_entries(Bucket *bucket) noexcept:
    """Asks for the entries of a bucket that a walk comes to next; its values are asked for then."""
    cdef int s
    for s in range(SLOTS):
        if bucket.tags[s]:
            TABLE_PREFETCH(bucket.keys[s])


cdef inline Bucket *hanging(Bucket *bucket) noexcept:
    """The bucket that hangs on this one, or NULL."""
    return <Bucket *>bucket.keys[SLOTS - 1] if bucket.tags[SLOTS] else NULL


cdef inline void hang(Bucket *bucket, Bucket *other) noexcept:
    """Makes `other` (or none) the bucket that hangs on this one; its last slot is free."""
    bucket.tags[SLOTS] = other != NULL
    bucket.keys[SLOTS - 1] = <PyObject *>other


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
        self.entries = False
        self.shift = 7

    @staticmethod
    def of_entries():
        """A table whose values are the entries of their keys."""
        cdef Table table = Table()
        table.entries = True
        table.shift = 6
        return table

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept:
        """Frees all buckets and what they hold."""
        cdef Py_ssize_t i
        cdef Bucket *bucket
        cdef Bucket *more
        if self.segments == NULL:
            return
        for i in range(self.count):
            bucket = self.bucket_at(i)
            self.free_pairs(bucket)
            bucket = hanging(bucket)
            while bucket != NULL:
                more = hanging(bucket)
                self.free_pairs(bucket)
                PyMem_RawFree(bucket)
                bucket = more
        for i in range((self.count + SEGMENT - 1) >> SEGMENT_BITS):
            PyMem_RawFree(self.segments[i])
        PyMem_RawFree(self.segments)
        self.segments = NULL

    cdef void free_pairs(self, Bucket *bucket) noexcept:
        cdef int s
        for s in range(SLOTS):
            if bucket.tags[s]:
                Py_DECREF(<object>bucket.keys[s])
                if not self.entries:
                    Py_DECREF(<object>bucket.values[s])

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
        return <Bucket *>(<char *>self.segments[index >> SEGMENT_BITS]
                          + ((index & (SEGMENT - 1)) << self.shift))

    cdef Bucket *new_buckets(self, Py_ssize_t count) except NULL:
        """`count` empty buckets in a row."""
        cdef Bucket *buckets = <Bucket *>PyMem_RawCalloc(count, <size_t>1 << self.shift)
        if buckets == NULL:
            raise MemoryError()
        return buckets

    cdef inline bint same(self, PyObject *held, PyObject *key) noexcept:
        """Whether what a slot holds is of this key."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(<object>key)
        if self.entries:
            return (<Entry>held).key_size == <size_t>size and memcmp(
                entry_key(held), PyBytes_AS_STRING(<object>key), size) == 0
        return held == key or (PyBytes_GET_SIZE(<object>held) == size and memcmp(
            PyBytes_AS_STRING(<object>held), PyBytes_AS_STRING(<object>key), size) == 0)

    cdef inline object key_in(self, Bucket *bucket, int slot):
        cdef PyObject *held = bucket.keys[slot]
        if self.entries:
            return PyBytes_FromStringAndSize(entry_key(held), (<Entry>held).key_size)
        return <object>held

    cdef inline object value_in(self, Bucket *bucket, int slot):
        return <object>(bucket.keys[slot] if self.entries else bucket.values[slot])

    cdef inline Py_hash_t code_in(self, Bucket *bucket, int slot) noexcept:
        """The low 32 bits, at least, of the hash of a key that is there."""
        cdef PyObject *held = bucket.keys[slot]
        return (<Entry>held).code if self.entries else PyObject_Hash(<object>held)

    cdef inline void move(self, Bucket *source, int slot, Bucket *target, int free) noexcept:
        """Moves what is in one slot to a free one."""
        target.tags[free] = source.tags[slot]
        target.keys[free] = source.keys[slot]
        source.tags[slot] = 0
        source.keys[slot] = NULL
        if not self.entries:
            target.values[free] = source.values[slot]
            source.values[slot] = NULL

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
        if self.entries and index + 1 < self.count:
            fetch_entries(self.bucket_at(index + 1))
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s]:
                    result.append((self.key_in(bucket, s), self.value_in(bucket, s)))
                    if self.entries:
                        TABLE_PREFETCH(<PyObject *>(<Entry>bucket.keys[s]).value)
            bucket = hanging(bucket)
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
                    result.append(self.key_in(bucket, s))
            bucket = hanging(bucket)

    cdef inline int find_slot(self, bytes key) except -2:
        """Finds the key: `self.at` and the slot, or -1."""
        cdef Py_hash_t code = PyObject_Hash(key)
        cdef unsigned char tag = tag_of(code)
        cdef Bucket *bucket = self.bucket_at(self.index_of(code))
        cdef int s
        if not self.entries:
            TABLE_PREFETCH(&bucket.values[0])
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s] == tag and self.same(bucket.keys[s], <PyObject *>key):
                    self.at = bucket
                    return s
            bucket = hanging(bucket)
        return -1

    cpdef get(self, bytes key):
        """The value of `key`, or None."""
        cdef int s
        if self.small is not None:
            return self.small.get(key)
        s = self.find_slot(key)
        if s < 0:
            return None
        return self.value_in(self.at, s)

    cpdef bint set(self, bytes key, value) except *:
        """Puts the value, in a table of entries the entry of this key; True when the key is new."""
        cdef Py_ssize_t before
        cdef int s
        cdef PyObject *old
        if self.entries and type(value) is not Entry:
            raise TypeError("a table of entries holds entries")
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
            Py_INCREF(value)
            if self.entries:
                old = self.at.keys[s]
                self.at.keys[s] = <PyObject *>value
            else:
                old = self.at.values[s]
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
        cdef Bucket *bucket = self.bucket_at(self.index_of(code))
        cdef int s = self.free_slot(&bucket)
        bucket.tags[s] = tag_of(code)
        Py_INCREF(value)
        if self.entries:
            bucket.keys[s] = <PyObject *>value
            return 0
        Py_INCREF(key)
        bucket.keys[s] = <PyObject *>key
        bucket.values[s] = <PyObject *>value
        return 0

    cdef int free_slot(self, Bucket **chain) except -1:
        """The first free slot of a chain, whose first bucket becomes the one with that slot."""
        cdef Bucket *bucket = chain[0]
        cdef Bucket *more
        cdef int s
        while True:
            for s in range(SLOTS - bucket.tags[SLOTS]):
                if bucket.tags[s] == 0:
                    chain[0] = bucket
                    return s
            if not bucket.tags[SLOTS]:
                more = self.new_buckets(1)
                self.move(bucket, SLOTS - 1, more, 0)
                hang(bucket, more)
            bucket = hanging(bucket)

    cdef int place(self, Bucket *source, int slot, Bucket *target) except -1:
        """Moves what is in one slot to the first free slot of another chain."""
        cdef int free = self.free_slot(&target)
        self.move(source, slot, target, free)
        return 0

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
        value = self.value_in(self.at, s)
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
        cdef PyObject *held_value = NULL
        cdef Bucket *first
        bucket.tags[slot] = 0
        bucket.keys[slot] = NULL
        if not self.entries:
            held_value = bucket.values[slot]
            bucket.values[slot] = NULL
        first = self.bucket_at(self.index_of(PyObject_Hash(key)))
        if first.tags[SLOTS]:
            self.tidy(first)
        self.used -= 1
        if self.used < self.count * LOAD // 4 and not self.frozen:
            if self.used <= SMALL_KEYS // 2:
                self.shrink_down()
            elif self.count > FIRST_BUCKETS:
                self.merge()
        Py_DECREF(<object>held_key)
        Py_XDECREF(held_value)
        return 0

    cdef void tidy(self, Bucket *bucket) noexcept:
        """Takes empty buckets out of a chain."""
        cdef Bucket *more
        cdef int s
        cdef bint empty
        while bucket.tags[SLOTS]:
            more = hanging(bucket)
            empty = True
            for s in range(SLOTS):
                if more.tags[s]:
                    empty = False
            if empty:
                hang(bucket, hanging(more))
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
                        result.append(self.key_in(bucket, s))
                        result.append(self.value_in(bucket, s))
                bucket = hanging(bucket)
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

    cpdef Py_ssize_t longest_key(self) except -1:
        """The length of the longest key in bytes; 0 when empty."""
        cdef Py_ssize_t longest = 0
        cdef bytes key
        for key in self.small if self.small is not None else self.keys_list():
            longest = max(longest, PyBytes_GET_SIZE(key))
        return longest

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
                bucket = hanging(bucket)
                wanted -= SLOTS
            if bucket != NULL and bucket.tags[wanted]:
                return self.key_in(bucket, wanted)

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
        self.segments[have] = self.new_buckets(SEGMENT)
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
                if bucket.tags[s] and self.code_in(bucket, s) & half:
                    self.place(bucket, s, high)
            bucket = hanging(bucket)
        if low.tags[SLOTS]:
            self.pack(low)
        return 0

    cdef int pack(self, Bucket *first) except -1:
        """Moves the keys of a chain to its beginning, and frees what is empty then."""
        cdef Bucket *bucket = hanging(first)
        cdef int s
        while bucket != NULL:
            for s in range(SLOTS):
                if bucket.tags[s]:
                    self.move_forward(first, bucket, s)
            bucket = hanging(bucket)
        self.tidy(first)
        return 0

    cdef void move_forward(self, Bucket *first, Bucket *bucket, int slot) noexcept:
        """Moves one pair to the first free slot of the chain before it."""
        cdef Bucket *target = first
        cdef int s
        while target != bucket:
            for s in range(SLOTS - target.tags[SLOTS]):
                if target.tags[s] == 0:
                    self.move(bucket, slot, target, s)
                    return
            target = hanging(target)

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
            more = hanging(bucket)
            for s in range(SLOTS):
                if bucket.tags[s]:
                    self.place(bucket, s, target)
            if bucket != first:
                PyMem_RawFree(bucket)
            bucket = more
        hang(first, NULL)
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
        return ((self.count + SEGMENT - 1) >> SEGMENT_BITS) * (SEGMENT << self.shift) + 96


cpdef Table table_of(list keys, list values):
    """A table of these keys, each with its value; without a list, with True.

    Of a key that comes twice the last is there: `used` is less than the keys then."""
    cdef Table table = Table()
    cdef Py_ssize_t count = len(keys)
    cdef Py_ssize_t i
    cdef bytes key
    if count > SMALL_KEYS:
        for i in range(count):
            table.set(<bytes?>keys[i], True if values is None else values[i])
        return table
    table.small = TABLE_DICT_FOR(count)
    for i in range(count):
        key = <bytes?>keys[i]
        table.small[key] = True if values is None else values[i]
    table.used = len(table.small)
    return table
