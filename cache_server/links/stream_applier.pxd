cimport cython
cimport cache_server._core._core as compiled_core
from cache_server.client cimport Client
from cache_server.commands.dispatch cimport Dispatcher
from cache_server.keyspace.database cimport Keyspace

cdef int _MULTI, _GETACK_WORDS

cdef class StreamApplier:
    cdef public object server
    cdef public Client client
    cdef public long long position
    cdef public object passes_over
    cdef object _on_getack
    cdef long long _fed
    cdef compiled_core.RequestReader _reader

    @cython.locals(reader=compiled_core.RequestReader, dispatcher=Dispatcher, keyspace=Keyspace)
    cpdef apply(self, bytes data)
    @cython.locals(client=Client, args=list)
    cdef _run(self, compiled_core.RequestReader reader, Dispatcher dispatcher)
    cdef bint _is_getack(self, list args) except -1
