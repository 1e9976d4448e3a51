# On a fresh machine with make, Python 3.11 to 3.13 and its venv module:
#   make demo    installs what the service needs and shows it at work on a simulated run
#   make test    installs the tests and passes them
# On a server with systemd, as root:
#   make install      installs or upgrades the program and its service
#   make uninstall    removes both; configuration, state and stores stay
# Another Python than `python3`: make demo PYTHON=python3.13. `make help` lists all targets.
PYTHON ?= python3
PREFIX ?= /opt/panoseti-zarr
# An environment of its own for each Python: one that is asked for by name is not mixed with others.
VENV ?= .venv$(addprefix -,$(filter-out python3,$(notdir $(PYTHON))))
# Files of tests that run at once.
PARALLEL ?= --numprocesses 2 --dist loadfile

BIN := $(VENV)/bin
INSTALL := requirements/install.sh "$(PYTHON)" "$(VENV)"
BOUNDS := pyproject.toml requirements/install.sh

# An environment that came here with a moved or copied clone is made again.
CLONE := $(shell cat $(VENV)/.clone 2>/dev/null)
ifneq ($(CLONE),$(CURDIR))
$(shell rm -f $(VENV)/.demo $(VENV)/.test $(VENV)/.dev)
endif

.NOTPARALLEL:

.PHONY: help demo test test-all test-deps test-newest test-oldest lint docs generate lock
.PHONY: reliability fuzz soak bench install uninstall clean

help:
	@echo 'make demo         show the service at work on a simulated run'
	@echo 'make test         the tests of the whole product, minutes'
	@echo 'make test-all     the slow tests: faults, kills, systemd, SSH, browser'
	@echo 'make test-deps    the Debian packages that some tests use (root)'
	@echo 'make test-newest  make test with the newest version of every package'
	@echo 'make test-oldest  make test with the oldest versions that pyproject.toml allows'
	@echo 'make lint         linters, types, import rules'
	@echo 'make docs         the documentation as a site in build/site'
	@echo 'make generate     the pages that are made from the code, such as docs/config.md'
	@echo 'make lock         write the lock files; LOCK=--upgrade for newer versions'
	@echo 'make reliability, fuzz, soak, bench    hours of faults, inputs, runs; timings'
	@echo 'make install, uninstall                the service on this server (root)'
	@echo 'make clean        remove the environments and what was built'

demo: $(VENV)/.demo
	@rm -rf build/demo
	@$(BIN)/panoseti-zarr demo --keep build/demo

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PARALLEL)

test-all: $(VENV)/.test
	THOROUGH=1 $(BIN)/python -m pytest $(PARALLEL) -m 'slow or drawn'

test-deps:
	tests/support/install_deps.sh

test-newest:
	rm -rf $(VENV)-newest && $(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --no-compile --upgrade pip
	$(VENV)-newest/bin/python -m pip install --quiet --no-compile --editable '.[test]'
	$(VENV)-newest/bin/python -m pytest $(PARALLEL)

test-oldest: build/uv/bin/uv
	rm -rf $(VENV)-oldest && $(PYTHON) -m venv $(VENV)-oldest
	build/uv/bin/uv pip install --quiet --python $(VENV)-oldest/bin/python --resolution lowest-direct \
	  --editable '.[test]'
	$(VENV)-oldest/bin/python -m pytest $(PARALLEL)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

generate: $(VENV)/.dev
	$(BIN)/python docs/generate.py

lock: build/uv/bin/uv
	PATH="$(CURDIR)/build/uv/bin:$$PATH" requirements/lock.sh $(LOCK)

build/uv/bin/uv:
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet 'uv>=0.9'

# What is installed so far; the sets include each other: demo, test, dev.
$(VENV)/.demo: requirements/demo.txt $(BOUNDS)
	@$(INSTALL) demo --editable
	@touch $@
$(VENV)/.test: requirements/test.txt $(BOUNDS)
	@$(INSTALL) test --editable
	@touch $@ $(VENV)/.demo
$(VENV)/.dev: requirements/dev.txt $(BOUNDS)
	@$(INSTALL) dev --editable
	@touch $@ $(VENV)/.test $(VENV)/.demo

reliability: $(VENV)/.test
	$(BIN)/python -m pytest tests/reliability -m '' --long --kills 200
	$(BIN)/python tests/reliability/mutants.py

fuzz: $(VENV)/.test
	FUZZ_SECONDS=$${FUZZ_SECONDS:-600} $(BIN)/python -m pytest tests/fuzz -m ''

soak: $(VENV)/.test
	SOAK_TASKS=20000 $(BIN)/python -m pytest tests/soak -m '' -k tasks --timeout 1800
	$(BIN)/python tests/soak/soak.py --minutes $${MINUTES:-60}

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench.py

install:
	requirements/install.sh "$(PYTHON)" "$(PREFIX)" service
	$(PREFIX)/bin/panoseti-zarr install-service

uninstall:
	test -e $(PREFIX)/pyvenv.cfg # an environment, not a directory of something else
	! test -x $(PREFIX)/bin/panoseti-zarr || $(PREFIX)/bin/panoseti-zarr install-service --remove
	rm -rf $(PREFIX)

clean:
	rm -rf .venv .venv-* build
