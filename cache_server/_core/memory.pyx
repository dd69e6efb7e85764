"""Counts the bytes that Python has allocated, exactly and at once, without replacing its allocator.

Problem. maxmemory needs to know after every deletion how much is in use. The resident size lags and
rarely falls; pymalloc, which serves blocks of up to 512 bytes, tells nobody how many bytes it has
handed out; and running on the C library's allocator instead, which can tell the size of any block,
costs a tenth of a SET.

Idea. Wrappers around Python's own allocators add what is allocated and subtract what is freed. A
block above 512 bytes comes from malloc, which knows its size. For a smaller one the size must be
known when it is freed, and no header is needed for that: pymalloc cuts a page only into blocks of
one size class, so one byte per page of 4096 bytes remembers the class of the last block that was
allocated there, and that is the class of every block in it.

    class of a page     address bits 47..30      bits 29..12        bits 11..0
                        index of a leaf          byte in the leaf   within the page
    0: never allocated from since the start of the count, or the C library's
    1..32: pymalloc's class of 16, 32, ... 512 bytes

Invariants: a page's byte is only ever wrong for a page that holds no small block; the wrappers of the
raw domain clear it when the C library gets the page back. What was allocated before the count began
is not in it; it is subtracted when freed if its size can be told, so the caller adds a base. The MEM
and OBJECT domains run under the interpreter's lock; the raw domain does not, so its sum is atomic.

Sizes of classes and their limit are pymalloc's since Python 3.5 (`Objects/obmalloc.c`).
"""

from libc.stdlib cimport calloc
from libc.stdint cimport uintptr_t, uint8_t

cdef extern from "Python.h":
    ctypedef struct PyMemAllocatorEx:
        void *ctx
        void *(*malloc)(void *ctx, size_t size) noexcept nogil
        void *(*calloc)(void *ctx, size_t count, size_t size) noexcept nogil
        void *(*realloc)(void *ctx, void *block, size_t size) noexcept nogil
        void (*free)(void *ctx, void *block) noexcept nogil
    ctypedef enum PyMemAllocatorDomain:
        PYMEM_DOMAIN_RAW
        PYMEM_DOMAIN_MEM
        PYMEM_DOMAIN_OBJ
    void PyMem_GetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)
    void PyMem_SetAllocator(PyMemAllocatorDomain domain, PyMemAllocatorEx *allocator)

cdef extern from *:
    """
    #if defined(__APPLE__)
    #include <malloc/malloc.h>
    #define block_size(p) malloc_size(p)
    #else
    #include <malloc.h>
    #define block_size(p) malloc_usable_size(p)
    #endif
    static long long cs_raw_bytes;
    static __thread int cs_raw_reallocs;
    #define add_raw(n) __atomic_fetch_add(&cs_raw_bytes, (long long)(n), __ATOMIC_RELAXED)
    #define get_raw() __atomic_load_n(&cs_raw_bytes, __ATOMIC_RELAXED)
    """
    size_t block_size(void *block) noexcept nogil
    void add_raw(long long count) noexcept nogil
    long long get_raw() noexcept nogil
    int cs_raw_reallocs

cdef enum:
    SMALL_MAX = 512
    LEAF_BITS = 18
    PAGE_BITS = 12

cdef PyMemAllocatorEx raw_below, small_below
cdef uint8_t *leaves[1 << 18]
cdef long long small_bytes = 0
cdef bint counting = False


cdef inline uint8_t page_class(void *block) noexcept nogil:
    cdef uintptr_t address = <uintptr_t>block
    cdef uint8_t *leaf = leaves[(address >> (PAGE_BITS + LEAF_BITS)) & ((1 << 18) - 1)]
    if leaf == NULL:
        return 0
    return leaf[(address >> PAGE_BITS) & ((1 << LEAF_BITS) - 1)]


cdef inline void set_page_class(void *block, uint8_t cls) noexcept nogil:
    cdef uintptr_t address = <uintptr_t>block
    cdef uintptr_t top = (address >> (PAGE_BITS + LEAF_BITS)) & ((1 << 18) - 1)
    cdef uint8_t *leaf = leaves[top]
    if leaf == NULL:
        leaf = <uint8_t *>calloc(1 << LEAF_BITS, 1)
        if leaf == NULL:
            return
        leaves[top] = leaf
    leaf[(address >> PAGE_BITS) & ((1 << LEAF_BITS) - 1)] = cls


# -- the raw domain: malloc, without the interpreter's lock ------------------------------------

cdef inline void raw_added(void *block) noexcept nogil:
    if block != NULL:
        add_raw(block_size(block))
        if page_class(block) != 0:
            set_page_class(block, 0)


cdef void *raw_malloc(void *ctx, size_t size) noexcept nogil:
    cdef void *block = raw_below.malloc(raw_below.ctx, size)
    raw_added(block)
    return block


cdef void *raw_calloc(void *ctx, size_t count, size_t size) noexcept nogil:
    cdef void *block = raw_below.calloc(raw_below.ctx, count, size)
    raw_added(block)
    return block


cdef void *raw_realloc(void *ctx, void *block, size_t size) noexcept nogil:
    global cs_raw_reallocs
    cdef size_t before = block_size(block) if block != NULL else 0
    cdef void *moved = raw_below.realloc(raw_below.ctx, block, size)
    cs_raw_reallocs += 1
    if moved != NULL:
        add_raw(-<long long>before)
        raw_added(moved)
    return moved


cdef void raw_free(void *ctx, void *block) noexcept nogil:
    if block != NULL:
        add_raw(-<long long>block_size(block))
    raw_below.free(raw_below.ctx, block)


# -- MEM and OBJECT: pymalloc, which passes blocks above SMALL_MAX to the raw domain ----------

cdef inline void small_added(void *block, size_t size) noexcept nogil:
    global small_bytes
    cdef uint8_t cls = <uint8_t>((size + 15) >> 4)
    if block != NULL:
        small_bytes += <long long>cls << 4
        set_page_class(block, cls)


cdef void *small_malloc(void *ctx, size_t size) noexcept nogil:
    cdef void *block = small_below.malloc(small_below.ctx, size)
    if size - 1 < SMALL_MAX:
        small_added(block, size)
    return block


cdef void *small_calloc(void *ctx, size_t count, size_t size) noexcept nogil:
    cdef void *block = small_below.calloc(small_below.ctx, count, size)
    if count * size - 1 < SMALL_MAX:
        small_added(block, count * size)
    return block


cdef void *small_realloc(void *ctx, void *block, size_t size) noexcept nogil:
    global small_bytes
    cdef uint8_t cls
    cdef int reallocs
    cdef void *moved
    if block == NULL:
        return small_malloc(ctx, size)
    cls = page_class(block)
    reallocs = cs_raw_reallocs
    moved = small_below.realloc(small_below.ctx, block, size)
    if moved == NULL or moved == block or cs_raw_reallocs != reallocs:
        return moved
    small_bytes -= <long long>cls << 4
    if size - 1 < SMALL_MAX:
        small_added(moved, size)
    return moved


cdef void small_free(void *ctx, void *block) noexcept nogil:
    global small_bytes
    if block != NULL:
        small_bytes -= <long long>page_class(block) << 4
        small_below.free(small_below.ctx, block)


# -- for the server ----------------------------------------------------------------------------

def start_counting():
    """Puts the wrappers in place; once, early, by the main thread, on pymalloc only."""
    global counting, raw_below, small_below
    cdef PyMemAllocatorEx raw, small, mem
    if counting:
        return
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw_below)
    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &mem)
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &small_below)
    if mem.malloc != small_below.malloc or mem.ctx != small_below.ctx:
        raise RuntimeError("the allocators of Python's domains differ")
    if small_below.malloc == raw_below.malloc:
        raise RuntimeError("Python runs without its allocator of small blocks")
    raw.ctx = small.ctx = NULL
    raw.malloc, raw.calloc, raw.realloc, raw.free = raw_malloc, raw_calloc, raw_realloc, raw_free
    small.malloc, small.calloc, small.realloc, small.free = (
        small_malloc, small_calloc, small_realloc, small_free
    )
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &raw)
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &small)
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &small)
    counting = True


def counted_bytes():
    """Bytes allocated less bytes freed since the count began."""
    return get_raw() + small_bytes
