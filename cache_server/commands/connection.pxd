from cache_server.client cimport Client

cpdef ping_command(Client ctx, list args)
