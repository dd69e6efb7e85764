cimport cython
from cache_server.datatypes.hashes cimport Hash, hash_of
from cache_server.datatypes.list_value cimport list_of
from cache_server.datatypes.sets cimport Set, set_of
from cache_server.datatypes.sorted_sets cimport SortedSet, sorted_set_of
from cache_server.persistence.lzf cimport Compressor
from cache_server.persistence.snapshot_parts cimport (
    append_elements,
    append_integer,
    append_members,
    append_ms,
    append_number,
    append_string,
    append_words,
)
from cache_server.persistence.snapshot_reader cimport Reader, parse_double
from cache_server.structures.entry cimport Entry, make_entry
from cache_server.structures.table cimport Table

cdef int _STRING, _LIST, _SET, _HASH, _ZSET_2, _OPCODES
cdef dict _TYPE_CODES
cdef Py_ssize_t _STEP

cpdef int type_code(value) except -1

cdef class Encoder:
    cdef public bytearray out
    cdef public int access
    cdef public long long now_ms
    cdef Compressor _lzf

    cpdef length(self, value)
    cpdef string(self, data)
    @cython.locals(stop=Py_ssize_t, entry=Entry, key=bytes)
    cpdef Py_ssize_t entries(self, list items, Py_ssize_t start) except -1
    cpdef entry(self, bytes key, Entry entry)
    cpdef value(self, value)
    @cython.locals(out=bytearray)
    cdef _before_value(self, bytes key, Entry entry, int code)

cpdef read_value(Reader reader, int code)
cdef _value_of(Reader reader, int code)
cdef _list(list elements)
cdef list _list_nodes(Reader reader, int code)
@cython.locals(value=Set)
cdef _set(list members)
cdef list _hash_elements(Reader reader, int code)
@cython.locals(value=Hash)
cdef _hash(list elements)
@cython.locals(members=list, scores=list, elements=list)
cdef tuple _sorted_set_parts(Reader reader, int code)
@cython.locals(value=SortedSet, score=double, members=list, scores=list)
cdef _sorted_set(tuple parts)

@cython.final
cdef class Fit:
    cdef public Py_ssize_t hash_entries
    cdef public Py_ssize_t hash_bytes
    cdef public Py_ssize_t zset_entries
    cdef public Py_ssize_t zset_bytes
    cdef public Py_ssize_t set_integers

    cpdef apply(self, value)

cdef class Loaded:
    cdef public list tables
    cdef public list volatile
    cdef public dict aux
    cdef public list functions
    cdef public long long keys_loaded
    cdef public long long keys_expired
    cdef public long long keys_empty
    cdef public list empty_names

cdef class Loader:
    cdef public Loaded loaded
    cdef public Py_ssize_t databases
    cdef public long long now_ms
    cdef public bint drop_expired
    cdef public bint verify
    cdef public bint lfu
    cdef public Fit fit
    cdef public bint complete
    cdef public int version
    cdef object _crc
    cdef long long _offset
    cdef Reader _reader
    cdef list _waiting
    cdef Py_ssize_t _waiting_bytes
    cdef Py_ssize_t _wanted_bytes
    cdef Table _table
    cdef Table _volatile
    cdef long long _access

    cpdef feed(self, bytes data)
    @cython.locals(reader=Reader, mark=Py_ssize_t, left=Py_ssize_t)
    cdef _read(self)
    cdef _header(self, Reader reader)
    @cython.locals(expire_ms="long long", access="long long", code=int)
    cdef _item(self, Reader reader, Py_ssize_t mark)
    @cython.locals(loaded=Loaded, entry=Entry, key=bytes)
    cdef _key(self, Reader reader, int code, long long expire_ms, long long access)
    cdef _opcode(self, Reader reader, int code, Py_ssize_t mark)
    cdef _end(self, Reader reader, Py_ssize_t mark)
