from cache_server.client cimport Client

cpdef get_command(Client ctx, list args)
cpdef set_command(Client ctx, list args)
