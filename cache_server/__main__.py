"""`python -m cache_server` is `cache-server`."""

import sys

from cache_server.cli.serve import main

sys.exit(main())
