cimport cython
from cache_server.client cimport Client
cimport cache_server._core._core as compiled_core

@cython.final
cdef class Message:
    cdef public object value
    cdef public bytes resp2
    cdef public bytes resp3
    cpdef bytes encoded(self, int protocol)

@cython.locals(client=Client, channel=compiled_core.Channel)
cpdef Py_ssize_t deliver(Message message, dict clients) except -1
