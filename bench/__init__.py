"""Benchmarks: cache-server beside redis-server, in one run, over sockets only."""
