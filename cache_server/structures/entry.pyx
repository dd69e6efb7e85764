"""Entry, compiled: what `entry.py` says.

    offset  0  reference count, type       16  value      24  expire_ms     32  access
           40  length of the key           44  low 32 bits of the key's hash
           48  the key's bytes

Invariant: `key_size` bytes follow the fields, and never change.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyObject_Hash
from libc.string cimport memcpy

cdef extern from *:
    """
    typedef struct {
        PyObject_HEAD
        PyObject *value;
        long long expire_ms;
        long long access;
        unsigned int key_size;
        unsigned int code;
        char key[];
    } EntryLayout;
    """
    ctypedef struct EntryLayout:
        PyObject *value
        long long expire_ms
        long long access
        unsigned int key_size
        unsigned int code
        char *key

cdef extern from "Python.h":
    void *PyObject_Malloc(size_t)
    object PyObject_Init(void *, PyObject *)
    void Py_INCREF(object)


@cython.final
@cython.no_gc
cdef class Entry:
    def __sizeof__(self):
        return sizeof(EntryLayout) + self.key_size


cpdef Entry make_entry(bytes key, value, long long access):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
    cdef EntryLayout *entry = <EntryLayout *>PyObject_Malloc(sizeof(EntryLayout) + size)
    if entry == NULL:
        raise MemoryError()
    Py_INCREF(value)
    entry.value = <PyObject *>value
    entry.expire_ms = 0
    entry.access = access
    entry.key_size = <unsigned int>size
    entry.code = <unsigned int>PyObject_Hash(key)
    memcpy(entry.key, PyBytes_AS_STRING(key), size)
    return PyObject_Init(entry, <PyObject *>Entry)


assert Entry.__basicsize__ == sizeof(EntryLayout)
