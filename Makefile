# Two commands are all a newcomer needs: `make ablation` and `make test`. Both set up by themselves.
PYTHON ?= python3
VENV ?= .venv
FIXTURES ?=
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python

.PHONY: help ablation paper test test-all gpu check clean

help:
	@echo "make ablation   train and compare the five RoI layers of Table 2c (about ten minutes on 2 cores)"
	@echo "make paper      all of Table 2 and class-agnostic masks, three seeds, one page each and an index"
	@echo "make test       all quick tests; FIXTURES=DIR adds those that need outside data"
	@echo "make test-all   every test, the slow ones too"
	@echo "make gpu        on a machine with a GPU: timings, conformance, GPU bugs; one JSON, one page"
	@echo "make check      formatting, lint and types"
	@echo "make clean      remove the environment and everything that was generated"

# Set up once; again only when the dependencies change.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; choose one with PYTHON=python3.12"; exit 2; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

ablation: $(READY)
	$(RUN) -m ablations run roi_layer --scale small

paper: $(READY)
	$(RUN) -m ablations run paper --scale small --seeds 3

test: $(READY)
	$(RUN) -m pytest -n auto --dist worksteal -m "not slow" $(if $(FIXTURES),--fixtures-dir=$(FIXTURES))

test-all: $(READY)
	$(RUN) -m pytest -n auto --dist worksteal $(if $(FIXTURES),--fixtures-dir=$(FIXTURES))

# RUN=python3 takes an environment that is there, where nothing can be installed.
gpu: $(if $(filter $(VENV)/%,$(RUN)),$(READY))
	$(RUN) -m benchmarks gpu

check: $(READY)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:
	rm -rf $(VENV) reports/runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
