from cache_server.client cimport Client
from cache_server.commands.dispatch cimport Dispatcher
from cache_server.commands.propagation cimport Propagation
from cache_server.commands.table cimport Command
from cache_server.keyspace.database cimport Keyspace
from cache_server.scripting.replies cimport to_lua

cimport cython

cdef int _SCRIPT, _RESTRICTED, _TRACKING, _WRITE, _READONLY, _NOSCRIPT, _MEMORY, _INHERITED
cdef int _FOLLOWERS, _ALL

cdef class _Voice:
    cdef public int protocol
    cdef public object gate
    cdef public object writer
    cdef public object output_bytes

cdef class Host:
    cdef public object server
    cdef public Dispatcher dispatcher
    cdef public Keyspace keyspace
    cdef public Propagation propagation
    cdef public Client client
    cdef public _Voice voice
    cdef public bint deny_nothing
    cdef public Client caller
    cdef public bint read_only
    cdef public bint allow_oom
    cdef public bint wrote
    cdef public bint full
    cdef public int replicate
    cdef public long long now_ms
    cdef public list stream
    cdef public list staged
    cdef public object interrupt_hook
    cdef public object library
    cdef object _random

    @cython.locals(client=Client)
    cpdef begin(self, Client caller, bint read_only, bint allow_oom)
    cpdef end(self)
    @cython.locals(index=int, cmd=Command)
    cpdef answer(self, list request)
    @cython.final
    cdef Command _find(self, list request)
    @cython.final
    cdef _call_unseen(self, Command cmd, list request)
    @cython.final
    cdef _refuse(self, Command cmd, text)
    @cython.final
    @cython.locals(gates=int, obeyed=int)
    cdef _refusal(self, Command cmd, list request)

cdef _word(arg)
