cimport cython
from cache_server.client cimport Client
from cache_server.commands.propagation cimport Propagation
from cache_server.commands.table cimport Command
from cache_server.keyspace.database cimport Keyspace
cimport cache_server._core._core as compiled_core

cdef int _GATED, _MULTI, _MONITOR, _APPLYING

cdef class Dispatcher(compiled_core.Executor):
    cdef public object server
    cdef public Keyspace keyspace
    cdef public Propagation propagation
    cdef public dict commands
    cdef public dict lookup
    cdef public int gates
    cdef public int depth
    cdef public compiled_core.Stopwatch stopwatch
    cdef public bytes last_name
    cdef public Command last_row
    cdef public long long clock_ns
    cdef public long long total_calls
    cdef public long long total_reads
    cdef public long long slow_ns
    cdef public bint latency_tracking
    cdef public long long writes_until_ns
    cdef public object reply_gate
    cdef public object lease_gate
    cdef public object log_gate
    cdef public list ready_keys

    @cython.locals(cmd=Command)
    cpdef apply(self, Client client, list args)
    cpdef begin_pass(self)
    cpdef begin_requests(self, client)
    @cython.locals(cmd=Command, sub=Command)
    cpdef Command find(self, list args)
    cpdef execute(self, client, list args)
    @cython.final
    @cython.locals(cmd=Command)
    cdef _execute(self, Client client, list args)
    @cython.locals(keyspace=Keyspace, dirty=cython.longlong, db_index=int, now=cython.longlong, spent=cython.longlong)
    cpdef call(self, Client client, Command cmd, list args)
    cpdef finish_unit(self)
    @cython.final
    cdef _record(self, Client client, list args, int db_index, bint changed)
    @cython.final
    cdef _execute_gated(self, Client client, Command cmd, list args)
    @cython.final
    cdef _run(self, Client client, Command cmd, list args)
    cpdef call_tracked(self, Client client, Command cmd, list args)
    @cython.final
    cdef _execute_muted(self, Client client, Command cmd, list args)
    @cython.final
    cdef _refused(self, Client client, Command cmd, error)
    @cython.final
    @cython.locals(flags=int, gates=int, permits=int)
    cdef _admit(self, Client client, Command cmd, list args)
    cpdef int flags_of(self, Command cmd, list args)
    @cython.final
    cdef _admit_write(self, int gates)
    @cython.final
    cdef _queue(self, Client client, Command cmd, list args)
