cimport cython
cimport cache_server._core._core as compiled_core
from cache_server.client cimport Client
from cache_server.commands.dispatch cimport Dispatcher
from cache_server.commands.table cimport Command

cdef class Replay:
    cdef public object server
    cdef public long long commands_run
    cdef public long long refused
    cdef object _history
    cdef tuple _moved
    cdef object _chain
    cdef Client _client
    cdef compiled_core.RequestReader _reader
    cdef object _tail
    cdef long long _tail_bytes
    cdef long long _tail_bytes_max
    cdef list _queue
    cdef long long _queue_offset

    @cython.locals(dispatcher=Dispatcher, client=Client, row=Command, known=Command, words=list)
    cdef _run_requests(self, compiled_core.RequestReader reader, offset)
    cdef _call(self, Client client, Command row, list words)
