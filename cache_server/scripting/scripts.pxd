from cache_server.client cimport Client
from cache_server.commands.dispatch cimport Dispatcher
from cache_server.scripting.host cimport Host

cimport cython

cdef int _STALE, _COMPATIBLE, _ALLOW_OOM, _NO_WRITES

cdef class Script:
    cdef public bytes body
    cdef public bytes sha
    cdef public int flags
    cdef public long long number

cdef class Run:
    cdef public Client caller
    cdef public bytes name
    cdef public list args
    cdef public bint is_eval
    cdef public long long began_ns
    cdef public bint busy
    cdef public bint killed

cdef class Scripting:
    cdef public object server
    cdef public Dispatcher dispatcher
    cdef public Host host
    cdef public dict scripts
    cdef dict _texts
    cdef bytes _last_text
    cdef Script _last_script
    cdef long long _next_number
    cdef object _engine
    cdef public object libraries
    cdef public object debugging
    cdef public Run running
    cdef public long long scripts_bytes
    cdef long long _load_until_ns
    cdef int _runs

    cpdef Script script_of_text(self, bytes body)
    @cython.locals(flags=int)
    cpdef run_script(self, Client ctx, Script script, list args, long long key_count, bint read_only, engine=*)
    @cython.final
    cdef _run(self, Run run, engine, long long number, long long key_count)
    @cython.final
    cdef _end_run(self, Run run, engine)
