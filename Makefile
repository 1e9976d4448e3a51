# On a fresh Debian or Ubuntu with python3 and its venv module:
#   make demo    sets everything up in .venv and runs the main job on a simulated run
#   make test    sets everything up and passes the tests
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test lint reliability bench clean

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

reliability: $(READY)
	$(VENV)/bin/python -m pytest tests/reliability --long --kills 200
	$(VENV)/bin/python tests/reliability/mutants.py

bench: $(READY)
	$(VENV)/bin/python benchmarks/bench.py

clean:
	rm -rf $(VENV)
