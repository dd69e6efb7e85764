from cache_server.client cimport Client

cdef int _SUBSCRIBED

cpdef ping_command(Client ctx, list args)
