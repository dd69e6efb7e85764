cimport cython
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
from cache_server.structures.entry cimport Entry, make_entry
from cache_server.structures.table cimport Table

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

cdef class Reader:
    cdef public bytes data
    cdef public Py_ssize_t position
    cdef public Py_ssize_t end
    cdef public Py_ssize_t wanted

    cpdef int byte(self) except -1
    @cython.locals(start=Py_ssize_t, stop=Py_ssize_t)
    cpdef bytes take(self, Py_ssize_t size)
    cdef _big(self, int lead)
    @cython.locals(lead=int)
    cpdef number(self)
    @cython.locals(lead=int)
    cpdef long long count(self) except -1
    cpdef Py_ssize_t size(self, int lead) except -1
    @cython.locals(lead=int)
    cpdef bytes string(self)
    @cython.locals(lead=int)
    cpdef string_value(self)
    cdef _small_integer(self, int lead)
    @cython.locals(packed=Py_ssize_t, size=Py_ssize_t)
    cdef bytes _compressed(self)
    cpdef double double(self) except? -1
    cpdef double old_double(self) except? -1
    cpdef long long signed_ms(self) except? -1

cpdef double parse_double(bytes digits) except? -1
cpdef read_value(Reader reader, int code)
cdef _value_of(Reader reader, int code)
@cython.locals(elements=list)
cdef list _strings(Reader reader, long long count)
cdef _list(list elements)
cdef list _list_nodes(Reader reader, int code)
cdef _set(list members)
cdef list _hash_elements(Reader reader, int code)
cdef _hash(list elements)
cdef list _sorted_set_pairs(Reader reader, int code)
cdef _sorted_set(list pairs)

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
    cdef public object fit
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
