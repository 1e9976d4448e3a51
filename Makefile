# On a fresh Debian or Ubuntu with python3 and its venv module:
#   make demo    sets everything up in .venv and runs the main job on a simulated run
#   make test    sets everything up and passes the tests
# On a server with systemd, as root:
#   make install      installs or upgrades program and service; configuration and state stay
#   make uninstall    takes them away; configuration, state and stores stay
PYTHON ?= python3
PREFIX ?= /opt/panoseti-zarr
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test lint docs reliability fuzz soak bench install uninstall clean

demo: $(READY)
	$(VENV)/bin/panoseti-zarr demo

test: $(READY)
	$(VENV)/bin/python -m pytest

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

docs: $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet

reliability: $(READY)
	$(VENV)/bin/python -m pytest tests/reliability --long --kills 200
	$(VENV)/bin/python tests/reliability/mutants.py

fuzz: $(READY)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-600} $(VENV)/bin/python -m pytest tests/fuzz

soak: $(READY)
	SOAK_TASKS=20000 $(VENV)/bin/python -m pytest tests/soak -k tasks --timeout 1800
	$(VENV)/bin/python tests/soak/soak.py --minutes $${MINUTES:-60}

bench: $(READY)
	$(VENV)/bin/python benchmarks/bench.py

install:
	$(PYTHON) -m venv $(PREFIX)
	$(PREFIX)/bin/python -m pip install --quiet '.[hk]'
	$(PREFIX)/bin/panoseti-zarr install-service

uninstall:
	$(PREFIX)/bin/panoseti-zarr install-service --remove
	rm -rf $(PREFIX)

clean:
	rm -rf $(VENV)
