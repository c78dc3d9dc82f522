# Each target does its own set-up: any of them can be the first command in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PAGE := frontend2/dist/index.html
PACKAGES := frontend2/node_modules/.installed
PAGE_SOURCES := $(shell find frontend2 -path frontend2/node_modules -prune -o -path frontend2/dist -prune -o -type f -print)

MAKEFLAGS += --jobs=2  # Python's and npm's packages arrive side by side

.PHONY: help install demo test bench soak lint snapshot docs page clean

help:  ## what can be made here
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed-dev $(PACKAGES)  ## virtual environment and npm packages

demo: $(VENV)/.installed $(PAGE)  ## server, schema, feed, trading accounts, relay and page; Ctrl-C stops all of it
	@$(BIN)/tidemark up --demo

test: install $(PAGE)  ## the whole test suite
	@$(BIN)/python -m tests.browser
	@npm --prefix frontend2 test
	@$(BIN)/pytest -m "not bench" --numprocesses=2 --dist=loadfile $(ARGS)

bench: install $(PAGE)  ## the benchmarks: tables with load, percentiles and the ratio to the floor
	@$(BIN)/pytest -m bench tests/bench -s $(ARGS)

soak: install $(PAGE)  ## fifty faults under the page, then an hour of reconciliation; TIDEMARK_FAULTS and TIDEMARK_SOAK_SECONDS
	@TIDEMARK_FAULTS=$${TIDEMARK_FAULTS:-50} TIDEMARK_SOAK_SECONDS=$${TIDEMARK_SOAK_SECONDS:-3600} \
		$(BIN)/pytest -s tests/e2e/test_page_outlives_faults.py tests/faults/test_reconcile_outlives_faults.py $(ARGS)

lint: install  ## ruff, mypy, tsc
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@npm --prefix frontend2 run check

snapshot: install  ## the committed text of the schema
	@$(BIN)/pytest -q tests/sql/test_migrations.py -k snapshot --refresh-snapshot

docs: install  ## what is made from glue/wire.py: docs/asyncapi.json and the page's types
	@$(BIN)/python -m tests.contract

page: $(PAGE)  ## the built page

clean:  ## what the set-up made, but not $TIDEMARK_HOME
	rm -rf $(VENV) frontend2/node_modules frontend2/dist

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tidemark needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the Python packages into $(VENV)"
	@$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

$(PACKAGES): frontend2/package-lock.json
	@command -v npm >/dev/null || { echo "tidemark's page needs Node.js 20 or newer with npm" >&2; exit 1; }
	@echo "Installing the page's npm packages into frontend2/node_modules"
	@npm --prefix frontend2 ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

$(PAGE): $(PAGE_SOURCES) $(PACKAGES)
	@echo "Building the page"
	@npm --prefix frontend2 run build --silent
