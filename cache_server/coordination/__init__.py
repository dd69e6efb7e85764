"""The shell around the failover machines: links, durable state files, and what ticks them."""
