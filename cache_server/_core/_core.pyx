# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled core: the only code that handles raw buffers.

One extension of short files, included here so that calls between them stay C calls:

    buffer.pxi    a growable byte buffer
    reader.pxi    RequestReader: bytes to requests
    writer.pxi    ReplyWriter: values to bytes
    stopwatch.pxi the clocks
    histogram.pxi Histogram: how long the calls of a command took
    channel.pxi   Channel: one pass over what was read: parse, execute, encode, send

It imports no module that touches a socket, a key or a command; what it runs is handed to it. Its
pure twin is `cache_server/wire/pure.py`; every wire test runs on both.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.list cimport PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_REFCNT, Py_XDECREF
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.math cimport fabs, signbit
from libc.string cimport memchr, memcmp, memcpy, memmove

from cache_server.constants import (
    BULK_LENGTH_UNAUTHENTICATED_MAX as _BULK_UNAUTH,
    INLINE_BYTES_MAX as _INLINE,
    LATENCY_BUCKETS as _BUCKETS,
    MULTIBULK_COUNT_MAX as _COUNT,
    MULTIBULK_COUNT_UNAUTHENTICATED_MAX as _COUNT_UNAUTH,
    REPLY_BYTES_PER_FLUSH as _FLUSH,
    TURN_NS_MAX as _TURN_NS,
    TURN_REQUESTS as _TURN_REQUESTS,
)
from cache_server.errors import CommandError, ProtocolError
from cache_server.wire.inline import split_inline
from cache_server.wire.replies import (
    NO_REPLY as _NO_REPLY,
    NULL_ARRAY as _NULL_ARRAY,
    OK as _OK,
    PONG as _PONG,
    Map,
    Push,
    Raw,
    SetReply,
    Status,
    Verbatim,
    format_double,
)

cdef extern from "Python.h" nogil:
    Py_ssize_t PY_SSIZE_T_MAX

cdef extern from *:
    """
    /* A list under construction has empty places, of which Cython's own types know nothing. */
    static inline PyObject *core_list_item(PyObject *list, Py_ssize_t index) {
        return PyList_GET_ITEM(list, index);
    }
    static inline int core_list_set_bytes(
            PyObject *list, Py_ssize_t index, const char *text, Py_ssize_t length) {
        PyObject *item = PyBytes_FromStringAndSize(text, length);
        if (item == NULL) return -1;
        PyList_SET_ITEM(list, index, item);
        return 0;
    }
    """
    PyObject *PyList_GET_ITEM_or_NULL "core_list_item"(list values, Py_ssize_t index)
    int set_new_bytes "core_list_set_bytes"(
        list values, Py_ssize_t index, const char *text, Py_ssize_t length) except -1

cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_send "send"(int fd, const void *data, size_t length, int flags)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT

include "buffer.pxi"
include "reader.pxi"
include "writer.pxi"
include "stopwatch.pxi"
include "histogram.pxi"
include "channel.pxi"
