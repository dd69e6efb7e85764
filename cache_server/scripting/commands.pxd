from cache_server.client cimport Client
from cache_server.scripting.scripts cimport Script, Scripting

cimport cython

cdef _key_count(list args)
cdef _show(Client ctx, list args, Scripting scripting)
@cython.locals(scripting=Scripting, script=Script, key_count=cython.longlong)
cdef _eval(Client ctx, list args, bint read_only)
@cython.locals(scripting=Scripting, script=Script, key_count=cython.longlong)
cdef _evalsha(Client ctx, list args, bint read_only)
